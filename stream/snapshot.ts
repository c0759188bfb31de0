/**
 * Snapshots of the keyed runner: dirty keys, offsets, watermarks and recent ids in one atomic put, so that a restart re-folds
 * from exactly the offsets that the states stand for.
 *
 * Scope `detect`: `meta` (JSON), `ids <topic> <partition>`, and one entry per key.
 */
import { z } from 'zod'
import type { PartitionOffset } from '../bus/bus.ts'
import type { Logger } from '../runtime/log.ts'
import { progress } from '../schemas/progress.ts'
import { topicNames } from '../schemas/topics.ts'
import type { StateStore } from '../store/store.ts'
import { type Keyed, type KeyedFolds, keysInRun, newRun, type Run } from './keyed.ts'
import { RecentIds } from './recent-ids.ts'
import { Watermark, type WatermarkOptions } from './watermark.ts'

export const SNAPSHOT_SCOPE = 'detect'
const META = 'meta'

const offsets = z.array(z.object({ topic: z.enum(topicNames), partition: z.int(), offset: z.string() }))
const stream = z.object({ scanned_to: z.number().nullable(), completeness: z.number().nullable(), blind: z.boolean(), done: z.boolean(), seen_at: z.number() })
const meta = z.object({
  layout: z.literal(1),
  offsets,
  runs: z.array(
    z.object({
      run_id: z.string().nullable(),
      watermark: z.object({
        watermark: z.number().nullable(),
        last_event_time: z.number().nullable(),
        streams: z.array(z.tuple([z.string(), stream])),
        gaps: z.array(z.tuple([z.number(), z.number()])).optional(),
      }),
      events: z.number(),
      findings: z.number(),
      late: z.number(),
      duplicates: z.number(),
    }),
  ),
  /** Progress that waits for its barrier: the bus would not hand it over again. */
  pending: z.array(z.object({ values: z.array(progress), barrier: offsets })),
  /** Runs that ended last, newest at the end: their mark is written again after a crash between the two puts. */
  finished: z.array(z.object({ run_id: z.string(), mark: z.string() })),
})

export interface PendingProgress {
  values: z.infer<typeof progress>[]
  /** The next offset that each partition must have reached. */
  barrier: PartitionOffset[]
}

export interface Snapshot {
  offsets: PartitionOffset[]
  ids: Map<string, RecentIds>
  pending: PendingProgress[]
  finished: { run_id: string; mark: string }[]
}

/** Writes what changed. `dropped` are keys that are gone. Clears the dirty marks only after the put. */
export async function saveSnapshot(state: StateStore, folds: KeyedFolds, snapshot: Snapshot, dropped: readonly string[], dirtyIds: ReadonlySet<string>): Promise<number> {
  const entries = new Map<string, Uint8Array | undefined>()
  for (const name of dropped) entries.set(name, undefined)
  const written: Keyed[] = []
  for (const run of folds.runs.values()) {
    for (const keyed of keysInRun(run)) {
      const spec = folds.folds[keyed.fold]?.spec
      if (!keyed.dirty || keyed.evicted || spec === undefined) continue
      const bytes = keyed.bytes ?? spec.encode(keyed.state)
      entries.set(keyName(run, spec.id, keyed.entity), encodeKey(keyed, spec.version, bytes))
      written.push(keyed)
    }
  }
  for (const name of dirtyIds) {
    const ids = snapshot.ids.get(name)
    if (ids) entries.set(`ids ${name}`, ids.encode())
  }
  entries.set(META, Buffer.from(JSON.stringify(encodeMeta(folds, snapshot))))
  await state.put(SNAPSHOT_SCOPE, entries)
  for (const keyed of written) {
    keyed.dirty = false
    keyed.persisted = true
  }
  return entries.size
}

/** Fills `folds` with what was saved; undefined: there is no snapshot. */
export async function loadSnapshot(state: StateStore, folds: KeyedFolds, options: WatermarkOptions, wall: number, log: Logger): Promise<Snapshot | undefined> {
  const entries = await state.list(SNAPSHOT_SCOPE)
  const raw = entries.get(META)
  if (raw === undefined) return undefined
  const parsed = meta.parse(JSON.parse(Buffer.from(raw).toString('utf8')))
  for (const { run_id, watermark, ...counts } of parsed.runs) {
    const run = newRun(run_id, folds.folds.length, Watermark.decode(watermark, run_id === null, options, wall), wall)
    folds.adopt(Object.assign(run, counts))
  }
  const ids = new Map<string, RecentIds>()
  let foreign = 0
  for (const [name, bytes] of entries) {
    if (name.startsWith('ids ')) ids.set(name.slice(4), RecentIds.decode(bytes))
    else if (name !== META && !adoptKey(folds, name, bytes)) foreign++
  }
  if (foreign > 0) log.warn('detector states of another version were left out of the snapshot: these keys learn anew', { keys: foreign })
  return {
    offsets: decodeOffsets(parsed.offsets),
    ids,
    pending: parsed.pending.map(({ values, barrier }) => ({ values, barrier: decodeOffsets(barrier) })),
    finished: parsed.finished,
  }
}

/** Reads the state of an evicted key back. */
export async function reloadKey(state: StateStore, folds: KeyedFolds, run: Run, keyed: Keyed): Promise<void> {
  const id = folds.folds[keyed.fold]?.spec.id ?? ''
  const bytes = await state.get(SNAPSHOT_SCOPE, keyName(run, id, keyed.entity))
  keyed.evicted = false
  folds.evicted--
  keyed.bytes = bytes === undefined ? undefined : decodeKey(bytes).bytes
}

export const keyName = (run: Run, fold: string, entity: string): string => JSON.stringify([fold, run.run_id, entity])

function encodeMeta(folds: KeyedFolds, snapshot: Snapshot): z.infer<typeof meta> {
  const encodeOffsets = (list: readonly PartitionOffset[]) => list.map(({ topic, partition, offset }) => ({ topic, partition, offset: offset.toString() }))
  return {
    layout: 1,
    offsets: encodeOffsets(snapshot.offsets),
    runs: [...folds.runs.values()].map(({ run_id, watermark, events, findings, late, duplicates }) => ({
      run_id,
      watermark: watermark.encode(),
      events,
      findings,
      late,
      duplicates,
    })),
    pending: snapshot.pending.map(({ values, barrier }) => ({ values, barrier: encodeOffsets(barrier) })),
    finished: snapshot.finished,
  }
}

const decodeOffsets = (list: z.infer<typeof offsets>): PartitionOffset[] => list.map(({ topic, partition, offset }) => ({ topic, partition, offset: BigInt(offset) }))

/** wake_at f64, last_event_time f64, late f64, length of the version u8, version, state. */
function encodeKey(keyed: Keyed, version: string, state: Uint8Array): Uint8Array {
  const label = Buffer.from(version)
  const bytes = new Uint8Array(25 + label.length + state.length)
  const view = new DataView(bytes.buffer)
  view.setFloat64(0, keyed.wake_at)
  view.setFloat64(8, keyed.last_event_time)
  view.setFloat64(16, keyed.late)
  view.setUint8(24, label.length)
  bytes.set(label, 25)
  bytes.set(state, 25 + label.length)
  return bytes
}

function decodeKey(bytes: Uint8Array): { wake_at: number; last_event_time: number; late: number; version: string; bytes: Uint8Array } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const start = 25 + view.getUint8(24)
  const version = Buffer.from(bytes.subarray(25, start)).toString('utf8')
  return { wake_at: view.getFloat64(0), last_event_time: view.getFloat64(8), late: view.getFloat64(16), version, bytes: bytes.slice(start) }
}

/** False: the detector is gone, was switched off or has another version. */
function adoptKey(folds: KeyedFolds, name: string, bytes: Uint8Array): boolean {
  const [id, run_id, entity] = z.tuple([z.string(), z.string().nullable(), z.string()]).parse(JSON.parse(name))
  const fold = folds.folds.findIndex(({ spec }) => spec.id === id)
  const run = folds.runs.get(run_id)
  const decoded = decodeKey(bytes)
  if (run === undefined || decoded.version !== folds.folds[fold]?.spec.version) return false
  const { wake_at, last_event_time, late } = decoded
  const keyed: Keyed = { fold, entity, state: undefined, bytes: decoded.bytes, evicted: false, wake_at, late, last_event_time, dirty: false, persisted: true, removed: false }
  run.keys[fold]?.set(entity, keyed)
  if (wake_at !== Infinity) run.timers.push({ at: wake_at, order: `${id} ${entity}`, key: keyed })
  return true
}
