/**
 * Standard input, out of reach of the embedded engine: chdb, like clickhouse-local, takes what waits on file descriptor 0 for the
 * data of the INSERT that it is running. So the input is handed to a helper process, and descriptor 0 becomes /dev/null.
 */
import { spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { devNull } from 'node:os'
import { PassThrough, type Readable } from 'node:stream'

let claimed: Readable | undefined

/** What `-` reads: the claimed input, else the process's own. */
export const standardInput = (): Readable => claimed ?? process.stdin

/**
 * To be called once, before the embedded store is opened and before anybody touches process.stdin. `wanted`: somebody will read
 * it (`-`); false: it is only put out of reach. Pipes, sockets and files alike: Node cannot duplicate a descriptor itself, a
 * child that inherits it can.
 */
export function claimInput(wanted: boolean): void {
  if (claimed !== undefined) return
  if (wanted) {
    const relay = spawn(process.execPath, ['-e', 'process.stdin.pipe(process.stdout)'], { stdio: [0, 'pipe', 'inherit'] })
    // Piped at once: when the relay has ended, Node throws away what nobody reads yet.
    claimed = relay.stdout?.pipe(new PassThrough())
    // A run that ends early must not wait for a writer that never ends.
    relay.unref()
  }
  closeSync(0)
  openSync(devNull, 'r') // the lowest free descriptor, so this is 0 again
}
