/** The shipped collector over the model and a virtual clock: for tests that need no faults around it. For those see ../run.ts. */
import type { CloudWatchApi } from '../../../ingest/sources/cloudwatch-logs/api.ts'
import { cloudwatchLogs, cloudwatchSources } from '../../../ingest/sources/cloudwatch-logs/index.ts'
import { runCollector } from '../../../ingest/collector.ts'
import { createFormats } from '../../../ingest/formats/index.ts'
import { createPipeline } from '../../../ingest/pipeline.ts'
import { asCollectorSource, type CollectorSource } from '../../../ingest/sources/index.ts'
import { type Logger, silentLogger } from '../../../runtime/log.ts'
import { seededRandom } from '../../../runtime/random.ts'
import { MemoryBus, MemoryState, noPrices } from '../../support/ingest.ts'
import { VirtualClock } from '../clock.ts'
import { CloudWatchModel, type Faults, type PutEvent } from './model.ts'

/** A Monday at noon. */
export const NOON = Date.UTC(2026, 2, 2, 12)
export const SECOND = 1_000
export const MINUTE = 60_000
export const HOUR = 3_600_000
export const GROUP = '/app/calls'

// publish.ts lets the event loop run every 200 records, and then the virtual clock would take the collector for idle.
const PAGE = 190

const FINDER: CollectorSource = { id: 'cw', kind: 'cloudwatch-logs', stream: '', read: async function* () {} }

export const callPipeline = createPipeline({
  formats: createFormats([
    {
      mapping: {
        match: { columns: ['call'] },
        fields: { event_time: { pointer: '/time', format: 'epoch-ms' }, provider: { constant: 'openai' }, input_tokens: { pointer: '/tokens' }, event_id: { pointer: '/call' } },
      },
    },
  ]),
  hash_key: 'a-key-for-tests-only',
  attribution: [],
  rater: noPrices,
  privacy: { truncate_ip: 'none', user_ids: 'keep' },
})

/** A world with one collector; it may be stopped and started again. */
export class Collected {
  readonly clock = new VirtualClock(NOON)
  readonly bus = new MemoryBus()
  readonly state = new MemoryState()
  readonly model: CloudWatchModel
  readonly #config: Record<string, unknown>
  readonly #log: Logger
  #calls = 0

  constructor(options: { faults?: Partial<Faults>; config?: Record<string, unknown>; groups?: readonly string[]; log?: Logger; seed?: number } = {}) {
    this.model = new CloudWatchModel({ clock: this.clock, random: seededRandom(options.seed ?? 1), faults: { page_events: PAGE, ...options.faults } })
    for (const group of options.groups ?? [GROUP]) this.model.createGroup(group)
    this.#config = { regions: ['eu-west-1'], log_groups: options.groups ?? [GROUP], reconcile: false, ...options.config }
    this.#log = options.log ?? silentLogger
  }

  /** Log lines of calls; `late` is how long after its time an event becomes visible, ms. */
  put(calls: readonly { time: number; late?: number; stream?: string }[], group = GROUP): void {
    this.model.put(
      group,
      calls.map(({ time, late = 0, stream = 'main' }): PutEvent => {
        const call = `call-${++this.#calls}`
        return { timestamp: time, ingested_at: time + late, visible_at: time + late, stream, message: JSON.stringify({ call, time, tokens: 7 }) }
      }),
    )
  }

  /** Runs a process of the collector for so long and stops it. */
  async run(ms: number, api: CloudWatchApi = this.model): Promise<void> {
    const stop = new AbortController()
    const { clock, bus, state } = this
    const config = cloudwatchLogs.config.parse(this.#config)
    const sources = cloudwatchSources(config, { clock, log: this.#log }, () => api).map((source) => asCollectorSource(source, FINDER))
    let ended = false
    const collecting = runCollector({ sources, pipeline: callPipeline, bus: bus.bus, state, clock, log: this.#log, random: seededRandom(2) }, stop.signal).finally(
      () => (ended = true),
    )
    void clock.sleep(ms).then(() => stop.abort())
    await clock.drive(() => ended)
    await collecting
  }

  /** Distinct events on the bus, and how often an event was published on average. */
  get published(): { distinct: number; total: number; amplification: number } {
    const ids = this.bus.of('usage.v1').map(({ event_id }) => event_id)
    const distinct = new Set(ids).size
    return { distinct, total: ids.length, amplification: ids.length / Math.max(1, distinct) }
  }
}
