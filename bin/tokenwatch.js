#!/usr/bin/env node
// Plain JavaScript on purpose: an old Node dies on .ts files before it could say why.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import nodeModule, { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const NEEDED_MAJOR = 24
const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
const source = path.join(root, 'main.ts')
const entry = existsSync(source) ? source : path.join(root, 'dist', 'main.js')

// Every running query of the embedded store occupies a thread of this pool; four are too few (see docs/adr/0002).
process.env.UV_THREADPOOL_SIZE ??= '16'

// Commands that run long or hold the store.
const HEAVY = ['start', 'demo', 'ingest']
// Both allocators keep what they once had: without bounds a load of some minutes costs 150 MB more for as long as the process lives.
// Records live as long as their page. V8 takes that for long and makes them in the old generation, which then costs a tenth of the CPU.
const HEAP = ['--max-semi-space-size=16', '--no-allocation-site-pretenuring']
const MALLOC = { MALLOC_ARENA_MAX: '2', MALLOC_MMAP_THRESHOLD_: '65536', MALLOC_TRIM_THRESHOLD_: '1048576' }

if (Number(process.versions.node.split('.')[0]) >= NEEDED_MAJOR) {
  boundMemory()
  // Keeps compiled code between runs: commands answer in half the time.
  nodeModule.enableCompileCache()
  await import(pathToFileURL(entry).href)
} else {
  runOnOwnNode()
}

/** Starts this process anew with bounds for its memory, which are read at the start only. The pid stays, so signals and exit code need no passing on. */
function boundMemory() {
  const command = process.argv.slice(2).find((word) => !word.startsWith('-'))
  const bounded = [...process.execArgv, process.env.NODE_OPTIONS ?? ''].some((option) => option.includes('semi-space-size'))
  if (!HEAVY.includes(command ?? '') || bounded || process.platform === 'win32' || process.execve === undefined) return
  const options = [...HEAP, ...process.execArgv, ...process.argv.slice(1)]
  process.execve(process.execPath, [process.execPath, ...options], { ...MALLOC, ...process.env })
}

/** The package `node` of this installation is Node 24; hand over to it, with signals and exit code passed through. */
function runOnOwnNode() {
  const node = ownNode()
  if (!node) {
    console.error(`tokenwatch needs Node ${NEEDED_MAJOR} or newer, this is ${process.versions.node}. In a checkout run: npm ci`)
    process.exit(2)
  }
  const child = spawn(node, [fileURLToPath(import.meta.url), ...process.argv.slice(2)], { stdio: 'inherit' })
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
  child.on('exit', (code, signal) => (signal ? process.kill(process.pid, signal) : process.exit(code ?? 1)))
}

function ownNode() {
  try {
    const require = createRequire(import.meta.url)
    const file = path.join(path.dirname(require.resolve('node/package.json')), 'bin', process.platform === 'win32' ? 'node.exe' : 'node')
    return existsSync(file) ? file : undefined
  } catch {
    return undefined
  }
}
