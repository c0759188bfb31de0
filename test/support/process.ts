/** Our shipped command as a child process: started, watched, killed by its own pid. */
import { type ChildProcess, spawn } from 'node:child_process'
import { systemClock } from '../../runtime/clock.ts'

export interface Running {
  readonly child: ChildProcess
  /** What it wrote so far: stdout and stderr together. */
  output(): string
  /** Resolves with exit code or signal name. */
  readonly exited: Promise<number | NodeJS.Signals>
  stop(signal?: NodeJS.Signals): Promise<number | NodeJS.Signals>
}

const children = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL')
})

export function runTokenwatch(args: readonly string[], options: { env?: Record<string, string>; cwd?: string } = {}): Running {
  const child = spawn(process.execPath, [new URL('../../bin/tokenwatch.js', import.meta.url).pathname, ...args], {
    env: { ...process.env, ...options.env },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  children.add(child)
  let output = ''
  child.stdout?.on('data', (chunk: Buffer) => (output += chunk.toString()))
  child.stderr?.on('data', (chunk: Buffer) => (output += chunk.toString()))
  const exited = new Promise<number | NodeJS.Signals>((resolve) => {
    child.on('close', (code, signal) => {
      children.delete(child)
      resolve(signal ?? code ?? 1)
    })
  })
  return {
    child,
    output: () => output,
    exited,
    stop: async (signal = 'SIGTERM') => {
      child.kill(signal)
      return exited
    },
  }
}

/** stdout, stderr and exit code of a command that ends by itself. */
export async function runToEnd(
  args: readonly string[],
  options: { env?: Record<string, string>; cwd?: string; stdin?: string } = {},
): Promise<{ code: number; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [new URL('../../bin/tokenwatch.js', import.meta.url).pathname, ...args], {
    env: { ...process.env, ...options.env },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  children.add(child)
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()))
  child.stdin.end(options.stdin ?? '')
  const code = await new Promise<number>((resolve) => child.on('close', (exit) => resolve(exit ?? 1)))
  children.delete(child)
  return { code, stdout, stderr }
}

/** Polls until the condition holds; throws with what was waited for. */
export async function eventually(what: string, condition: () => boolean | Promise<boolean>, timeout_ms = 60_000): Promise<void> {
  const deadline = systemClock.now() + timeout_ms
  while (!(await condition())) {
    if (systemClock.now() > deadline) throw new Error(`gave up after ${timeout_ms / 1000} s: ${what}`)
    await systemClock.sleep(100)
  }
}
