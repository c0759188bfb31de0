/**
 * Keeps one broker alive for as long as the process that wanted it lives: `keeper.ts <owner pid> <java> [arguments…]`.
 * A test that is killed cannot stop its broker; this process can. SIGTERM stops the broker and ends.
 */
import { spawn } from 'node:child_process'
import { rmSync } from 'node:fs'
import { systemClock } from '../../../runtime/clock.ts'

const GRACE_MS = 8_000
const [owner = '', directory = '', keep = '', java = '', ...rest] = process.argv.slice(2)
const broker = spawn(java, rest, { stdio: 'ignore' })
let stopping = false

const alive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

const stop = async (): Promise<void> => {
  if (stopping) return
  stopping = true
  broker.kill('SIGTERM')
  await systemClock.sleep(GRACE_MS)
  broker.kill('SIGKILL')
}

broker.on('exit', () => {
  if (!alive(Number(owner)) || (stopping && keep === 'remove')) rmSync(directory, { recursive: true, force: true })
  process.exit(0)
})
process.on('SIGTERM', () => void stop())
process.on('SIGINT', () => {}) // Ctrl-C reaches the whole terminal group: the owner's end is what counts

while (alive(Number(owner))) await systemClock.sleep(500)
await stop()
