/** Who owns a data directory: `run.json` holds the process, the address and the token by which other commands reach it. */
import { chmodSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'

const runFile = z.object({
  pid: z.int().positive(),
  url: z.string().describe('http://127.0.0.1:…'),
  token: z.string().describe('Bearer token of the HTTP API'),
  started: z.string().optional().describe('what tells this process from a later one with the same pid'),
})
export type RunFile = z.infer<typeof runFile>

const pathOf = (data_dir: string): string => join(data_dir, 'run.json')

/** Writes it whole or not at all, readable by this user only, and removes it when the process exits. Returns the removal. */
export function writeRunFile(data_dir: string, run: RunFile): () => void {
  mkdirSync(data_dir, { recursive: true })
  const path = pathOf(data_dir)
  const started = startOf(run.pid)
  const draft = `${path}.${run.pid}`
  writeFileSync(draft, `${JSON.stringify({ ...run, ...(started === undefined ? {} : { started }) })}\n`, { mode: 0o600 })
  chmodSync(draft, 0o600)
  renameSync(draft, path)
  const remove = () => {
    process.off('exit', remove)
    if (readFile(path)?.pid === run.pid) rmSync(path, { force: true })
  }
  process.on('exit', remove)
  return remove
}

/** The living owner; undefined without a file, for a file that is not ours, and when its process is gone (kill -9 leaves the file). */
export function readRunFile(data_dir: string): RunFile | undefined {
  const run = readFile(pathOf(data_dir))
  if (run === undefined || !alive(run.pid)) return undefined
  const started = startOf(run.pid)
  return run.started !== undefined && started !== undefined && started !== run.started ? undefined : run
}

function readFile(path: string): RunFile | undefined {
  try {
    return runFile.safeParse(JSON.parse(readFileSync(path, 'utf8'))).data
  } catch {
    return undefined
  }
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    // EPERM: it lives and belongs to somebody else.
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

/** Boot-relative start of a process on Linux (field 22 of /proc/PID/stat): in a container the pid of the next run is often the same. */
function startOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
  } catch {
    return undefined
  }
}
