/** What really happened: every record that the cloud holds, when it happened, and from when on it can be seen. */
import type { Random } from '../../runtime/random.ts'
import { between, chance, pick, spread, type Window, whole } from './weather.ts'

/**
 * own: carries the provider's own id. plain: told apart by its content only. twin: two requests that agree in everything.
 * copy: one request that was logged twice. cut: broken. foreign: something else.
 */
export type Kind = 'own' | 'plain' | 'twin' | 'copy' | 'cut' | 'foreign'

export interface TrueRecord {
  n: number
  /** Index of the log group or table. */
  stream: number
  /** Event time, epoch ms. */
  time: number
  /** From this instant on the cloud's API gives it. Never before it was written, but maybe before its own time: clocks are off. */
  visible_at: number
  kind: Kind
  /** Records of one identity are one request, unless they are twins: then each is one. Empty for cut and foreign. */
  identity: string
  body: string
}

export interface TruthOptions {
  streams: number
  /** Something happens in this window. */
  busy: Window
  count: number
  /** Most ms between happening and being visible. */
  longest_delay: number
  /** Share of records that come later than two minutes. */
  stragglers: number
  /** Most ms that a producer's clock is off. */
  clock_error: number
  /** Lines of text, or rows, which are always JSON objects. */
  shape?: 'lines' | 'rows'
}

/** How the format `mapping` reads the records. */
export const mapping = {
  mapping: {
    match: { columns: ['t', 'rid'] },
    fields: {
      event_time: { column: 't', format: 'epoch-ms' },
      provider: { constant: 'openai' },
      event_id: { column: 'id' },
      request_id: { column: 'rid' },
      input_tokens: { column: 'in' },
    },
  },
}

export function createTruth(random: Random, options: TruthOptions): TrueRecord[] {
  const clocks = Array.from({ length: options.streams }, () => (chance(random, 0.3) ? between(random, -options.clock_error, options.clock_error) : 0))
  const records: TrueRecord[] = []
  while (records.length < options.count) {
    const stream = whole(random, 0, options.streams - 1)
    const written = Math.floor(between(random, options.busy.from, options.busy.to))
    // Applications log in bursts: many records share a millisecond.
    const burst = chance(random, 0.15) ? whole(random, 2, 12) : 1
    for (let i = 0; i < burst && records.length < options.count; i++) {
      const time = Math.floor(written + (clocks[stream] ?? 0))
      addRecords(records, random, { stream, time, visible_at: written + delay(random, options) }, options.shape ?? 'lines')
    }
  }
  return records
}

/** 80 % within 2 s, 15 % within 30 s, 5 % within 2 min; stragglers at any distance up to the longest. */
function delay(random: Random, { longest_delay, stragglers }: TruthOptions): number {
  if (chance(random, stragglers)) return Math.floor(Math.min(longest_delay, spread(random, 120_000, Math.max(121_000, longest_delay))))
  const lot = random()
  return Math.floor(Math.min(longest_delay, lot < 0.8 ? between(random, 0, 2_000) : lot < 0.95 ? between(random, 2_000, 30_000) : between(random, 30_000, 120_000)))
}

function addRecords(records: TrueRecord[], random: Random, at: Pick<TrueRecord, 'stream' | 'time' | 'visible_at'>, shape: 'lines' | 'rows'): void {
  const n = records.length
  const lot = random()
  const kind: Kind = lot < 0.5 ? 'own' : lot < 0.8 ? 'plain' : lot < 0.87 ? 'twin' : lot < 0.92 ? 'copy' : lot < 0.95 ? 'cut' : 'foreign'
  const identity = kind === 'cut' || kind === 'foreign' ? '' : `r-${n}`
  const pad = chance(random, 0.05) ? 'x'.repeat(whole(random, 1, 400)) : ''
  const record: TrueRecord = { ...at, n, kind, identity, body: shape === 'lines' ? lineOf(kind, n, at.time, pad) : rowOf(kind, n, at.time, pad) }
  records.push(record)
  if (kind === 'copy') records.push({ ...record, n: n + 1, visible_at: record.visible_at + pick(random, [0, 1, 5_000, 90_000]) })
  // Two requests of one millisecond that agree in all that is logged; a log shows them in one batch.
  const twins = kind === 'twin' ? whole(random, 1, 2) : 0
  for (let i = 1; i <= twins; i++) records.push({ ...record, n: n + i })
}

function lineOf(kind: Kind, n: number, time: number, pad: string): string {
  if (kind === 'cut') return `{"t":${time},"rid":"r-${n}","in":`
  if (kind === 'foreign') return `START RequestId ${n} ${pad}`
  const own = kind === 'own' || kind === 'copy' ? { id: `e-${n}` } : {}
  return JSON.stringify({ t: time, rid: `r-${n}`, in: n % 1_000, ...own, ...(pad === '' ? {} : { pad }) })
}

function rowOf(kind: Kind, n: number, time: number, pad: string): string {
  const columns = { TimeGenerated: new Date(time).toISOString(), pad }
  if (kind === 'cut') return JSON.stringify({ ...columns, t: time, rid: `r-${n}`, in: 'many' })
  if (kind === 'foreign') return JSON.stringify({ ...columns, n })
  return JSON.stringify({ ...columns, ...(JSON.parse(lineOf(kind, n, time, '')) as object) })
}
