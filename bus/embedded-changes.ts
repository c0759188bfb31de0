/** Who waits for new records or a new division of a group, and what wakes them: an append here at once, other processes by polling. */
import type { Clock } from '../runtime/clock.ts'
import { messageOf } from '../runtime/errors.ts'
import type { Logger } from '../runtime/log.ts'
import type { GroupFile } from './embedded-group.ts'
import type { LogFile } from './embedded-log.ts'

const POLL_MS = 50 // one `pragma data_version` (about 10 µs) each time: far below 1 % of a core

export interface Changes {
  /** Next offset of a partition, as far as this process knows. */
  end(id: number): number
  /** This process appended. */
  appended(ends: ReadonlyMap<number, number>): void
  /** Resolves when the partition has a record at `position` or later, or the signal aborts. */
  waitForRecords(id: number, position: number, signal: AbortSignal): Promise<void>
  /** Resolves when the group's epoch is no longer `seen`, or the signal aborts. */
  waitForGroup(group: string, seen: number, signal: AbortSignal): Promise<void>
  /** Reads the file again now. */
  refresh(): void
  /** Polls until the signal aborts. */
  poll(signal: AbortSignal): Promise<void>
}

interface Waiter {
  ready: () => boolean
  wake: () => void
}

export function watchChanges(file: LogFile, groups: GroupFile, clock: Clock, log: Logger): Changes {
  let ends = file.ends()
  let version = -1
  const waiters = new Set<Waiter>()
  const wakeReady = () => {
    for (const waiter of waiters) if (waiter.ready()) waiter.wake()
  }
  const wait = (ready: () => boolean, signal: AbortSignal): Promise<void> =>
    new Promise((resolve) => {
      const waiter: Waiter = {
        ready,
        wake: () => {
          waiters.delete(waiter)
          signal.removeEventListener('abort', waiter.wake)
          resolve()
        },
      }
      if (signal.aborted || ready()) return resolve()
      waiters.add(waiter)
      signal.addEventListener('abort', waiter.wake, { once: true })
    })
  const refresh = () => {
    const now = file.version()
    if (now === version) return
    version = now
    ends = file.ends()
    wakeReady()
  }
  return {
    end: (id) => ends.get(id) ?? 0,
    appended: (moved) => {
      for (const [id, end] of moved) ends.set(id, end)
      wakeReady()
    },
    waitForRecords: (id, position, signal) => wait(() => (ends.get(id) ?? 0) > position, signal),
    waitForGroup: (group, seen, signal) => wait(() => groups.epoch(group) !== seen, signal),
    refresh,
    poll: async (signal) => {
      for (let failing = false; !signal.aborted; await clock.sleep(POLL_MS, signal)) {
        try {
          if (waiters.size > 0) refresh()
          failing = false
        } catch (error) {
          if (!failing) log.warn('the bus file cannot be read now', { error: messageOf(error) })
          failing = true
        }
      }
    },
  }
}
