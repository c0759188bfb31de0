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

if (Number(process.versions.node.split('.')[0]) >= NEEDED_MAJOR) {
  // Keeps compiled code between runs: commands answer in half the time.
  nodeModule.enableCompileCache()
  await import(pathToFileURL(entry).href)
} else {
  runOnOwnNode()
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
