/**
 * Another process on the same bus, for the contract: `bus-child.ts <json>`. It prints one JSON line per batch that it handled
 * (or one line when it has published) and ends on SIGTERM or when its input closes.
 */
import { createBus } from '../../bus/index.ts'
import { busConfig } from '../../bus/config.ts'
import { systemClock } from '../../runtime/clock.ts'
import { createLogger } from '../../runtime/log.ts'
import { usageSeries } from './bus-events.ts'

export interface ChildTask {
  config: unknown
  data_dir: string
  publish?: { keys: string[]; count: number }
  consume?: { group: string; pause_ms: number; max_records: number }
}

const task = JSON.parse(process.argv[2] ?? '{}') as ChildTask
const bus = createBus(busConfig.parse(task.config), { data_dir: task.data_dir, clock: systemClock, log: createLogger({ level: 'warn' }) })
const say = (line: unknown) => process.stdout.write(`${JSON.stringify(line)}\n`)
const stop = new AbortController()
process.on('SIGTERM', () => stop.abort())
process.stdin.on('end', () => stop.abort()).resume()

if (task.publish !== undefined) {
  await bus.publish('usage.v1', usageSeries(task.publish.keys, task.publish.count))
  say({ published: true })
}
if (task.consume !== undefined) {
  const { group, pause_ms, max_records } = task.consume
  const consumer = {
    assigned: async (partitions: readonly { partition: number }[]) => void say({ assigned: partitions.map(({ partition }) => partition) }),
    handle: async (batch: { partition: number; records: { event_id: string }[] }, signal: AbortSignal) => {
      await systemClock.sleep(pause_ms, signal)
      if (!signal.aborted) say({ partition: batch.partition, ids: batch.records.map(({ event_id }) => event_id) })
    },
  }
  await bus.consume(['usage.v1'], group, consumer, stop.signal, { max_records })
}
await bus.close()
process.stdin.destroy()
