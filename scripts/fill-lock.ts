/**
 * npm ci refuses a lockfile without entries for other platforms' optional binaries, and npm writes none where it could not
 * resolve them. Run after every npm install: npm run fill-lock (a repo test checks that it has been run).
 */
import { readFileSync, writeFileSync } from 'node:fs'

const SYSTEMS = ['darwin', 'linux', 'win32', 'freebsd', 'android', 'openharmony', 'netbsd', 'openbsd', 'sunos', 'aix']
const PROCESSORS = ['arm64', 'x64', 'ia32', 'arm', 'ppc64', 'riscv64', 's390x', 'loong64', 'mips64el', 'wasm32']
const LIBC: Record<string, string[]> = { gnu: ['glibc'], musl: ['musl'] }

export interface LockEntry {
  version?: string
  dev?: boolean
  optional?: boolean
  hasInstallScript?: boolean
  optionalDependencies?: Record<string, string>
  os?: string[]
  cpu?: string[]
  libc?: string[]
}

/** Entries without integrity for every optional platform package that the lock names but does not hold. */
export function missingEntries(packages: Readonly<Record<string, LockEntry>>): Record<string, LockEntry> {
  const missing: Record<string, LockEntry> = {}
  for (const [at, entry] of Object.entries(packages)) {
    for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
      const key = `node_modules/${name}`
      const words = name.split(/[-/]/)
      const os = words.find((word) => SYSTEMS.includes(word))
      if (packages[key] || packages[`${at}/${key}`] || !os) continue
      const cpu = PROCESSORS.find((word) => words.includes(word))
      const libc = LIBC[words.at(-1) ?? '']
      missing[key] = { version, ...(entry.dev && { dev: true }), ...(cpu && { cpu: [cpu] }), ...(libc && { libc }), optional: true, os: [os] }
    }
  }
  return missing
}

if (import.meta.main) {
  const file = new URL('../package-lock.json', import.meta.url)
  const lock = JSON.parse(readFileSync(file, 'utf8')) as { packages: Record<string, LockEntry> }
  const missing = missingEntries(lock.packages)
  lock.packages = Object.fromEntries(Object.entries({ ...lock.packages, ...missing }).toSorted(([a], [b]) => (a < b ? -1 : 1)))
  writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`)
  process.stdout.write(`package-lock.json: ${Object.keys(missing).length} entries for other platforms added\n`)
}
