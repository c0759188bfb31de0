/** Starts the stand-in for a ClickHouse server as a child process. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Fault } from './faults.ts'

export type { Fault } from './faults.ts'

export interface ClickHouseFront {
  readonly url: string
  readonly port: number
  readonly pid: number
  /** Replaces the faults on order; an empty call clears them. */
  fault(...faults: Fault[]): Promise<void>
  /** Requests so far that were statements. */
  requests(): Promise<number>
  /** kill -9. */
  kill(): Promise<void>
  /** Starts again on the same directory and port. */
  restart(): Promise<void>
  stop(): Promise<void>
}

interface Options {
  directory: string
  port?: number
  user?: string
  password?: string
}

export async function startClickHouseFront(options: Options): Promise<ClickHouseFront> {
  let running = await launch(options, options.port ?? 0)
  const { port } = running
  const url = `http://127.0.0.1:${port}`
  const end = async (signal: NodeJS.Signals) => {
    if (running.child.exitCode !== null || running.child.signalCode !== null) return
    const exit = once(running.child, 'exit')
    running.child.kill(signal)
    await exit
  }
  return {
    url,
    port,
    get pid() {
      return running.child.pid ?? 0
    },
    async fault(...faults) {
      await fetch(`${url}/__control`, { method: 'POST', body: JSON.stringify(faults) })
    },
    async requests() {
      const answer = (await (await fetch(`${url}/__control`)).json()) as { requests: number }
      return answer.requests
    },
    kill: () => end('SIGKILL'),
    async restart() {
      await end('SIGTERM')
      running = await launch(options, port)
    },
    stop: () => end('SIGTERM'),
  }
}

async function launch(options: Options, port: number): Promise<{ child: ChildProcess; port: number }> {
  const login = options.user === undefined ? [] : ['--user', options.user, '--password', options.password ?? '']
  const child = spawn(process.execPath, [join(import.meta.dirname, 'front.ts'), '--port', String(port), '--directory', options.directory, '--with-parent', ...login], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, UV_THREADPOOL_SIZE: '16' },
  })
  const lines = createInterface({ input: child.stdout })
  const exited = once(child, 'exit').then(([code]) => {
    throw new Error(`the ClickHouse front ended with ${String(code)} before it listened`)
  })
  const listening = (async () => {
    for await (const line of lines) if (line.startsWith('listening ')) return Number(line.slice(10))
    throw new Error('the ClickHouse front closed its output before it listened')
  })()
  const found = await Promise.race([listening, exited])
  exited.catch(() => undefined)
  return { child, port: found }
}
