/** The jars of Apache Kafka from Maven, fetched once per version of pom.xml into the ignored .cache/kafka. */
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { systemClock } from '../../../runtime/clock.ts'

const POM = join(import.meta.dirname, 'pom.xml')
export const CACHE = join(import.meta.dirname, '../../../.cache/kafka')
const STALE_LOCK_MS = 600_000

export const jarsDirectory = (): string => join(CACHE, `jars-${createHash('sha256').update(readFileSync(POM)).digest('hex').slice(0, 12)}`)

/** The directory with the jars; downloads them (about 90 MB) if this version was never fetched. */
export async function ensureJars(): Promise<string> {
  const target = jarsDirectory()
  if (existsSync(target)) return target
  return withLock('jars', async () => {
    if (existsSync(target)) return target
    const half = `${target}.${process.pid}`
    await promisify(execFile)('mvn', ['-q', '-B', '-f', POM, 'dependency:copy-dependencies', `-DoutputDirectory=${half}`], { timeout: 500_000 })
    renameSync(half, target)
    return target
  })
}

/** Across processes. A lock that a killed process left behind is taken over after ten minutes. */
export async function withLock<R>(name: string, work: () => Promise<R>): Promise<R> {
  mkdirSync(CACHE, { recursive: true })
  const lock = join(CACHE, `${name}.lock`)
  while (!takeLock(lock)) await systemClock.sleep(100)
  try {
    return await work()
  } finally {
    rmSync(lock, { recursive: true, force: true })
  }
}

function takeLock(lock: string): boolean {
  try {
    mkdirSync(lock)
    return true
  } catch {
    const age = systemClock.now() - (statSync(lock, { throwIfNoEntry: false })?.mtimeMs ?? systemClock.now())
    if (age > STALE_LOCK_MS) rmSync(lock, { recursive: true, force: true })
    return false
  }
}
