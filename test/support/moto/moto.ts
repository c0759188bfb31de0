/** A local AWS (moto) for tests, in a virtual environment of its own under .cache/venv; MOTO_URL names one that runs already. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { systemClock } from '../../../runtime/clock.ts'

const VERSION = '5.2.5'
const VENV = join(import.meta.dirname, '../../../.cache/venv')
const MARK = join(VENV, `moto-${VERSION}`)
const PYTHON = join(VENV, 'bin/python')
const INSTALL_LIMIT_MS = 300_000
const START_LIMIT_MS = 60_000

export interface TestMoto {
  url: string
  stop(): void
}

/** True when moto can be started; the first time on a machine it is installed from PyPI, which takes a minute. */
export function installMoto(): boolean {
  if (existsSync(MARK)) return true
  mkdirSync(VENV, { recursive: true })
  const steps: [string, string[]][] = [
    ['python3', ['-m', 'venv', VENV]],
    [PYTHON, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', `moto[server]==${VERSION}`]],
  ]
  if (!steps.every(([command, args]) => spawnSync(command, args, { stdio: 'ignore', timeout: INSTALL_LIMIT_MS }).status === 0)) return false
  writeFileSync(MARK, '')
  return true
}

/** Empty, and ends with this process. */
export async function startMoto(): Promise<TestMoto> {
  const given = process.env['MOTO_URL']
  if (given !== undefined && given !== '') return { url: given, stop: () => undefined }
  const port = await freePort()
  const child = spawn(PYTHON, ['-m', 'moto.server', '-H', '127.0.0.1', '-p', `${port}`], { stdio: 'ignore' })
  const stop = (): void => void child.kill('SIGKILL')
  process.on('exit', stop)
  const url = `http://127.0.0.1:${port}`
  await answers(`${url}/moto-api/`, child)
  return { url, stop }
}

async function answers(url: string, child: ChildProcess): Promise<void> {
  const until = systemClock.now() + START_LIMIT_MS
  while (systemClock.now() < until && child.exitCode === null) {
    const there = await fetch(url).then(
      (response) => response.ok,
      () => false,
    )
    if (there) return
    await systemClock.sleep(100)
  }
  throw new Error('moto did not start')
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise<void>((resolve) => server.close(() => resolve()))
  return port
}
