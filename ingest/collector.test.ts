import { appendFile, mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, describe, expect, it } from 'vitest'
import { PermanentError, TransientError } from '../runtime/errors.ts'
import { createLogger, type Logger, silentLogger } from '../runtime/log.ts'
import { registry } from '../runtime/metrics.ts'
import { seededRandom } from '../runtime/random.ts'
import { ManualClock, MemoryBus, MemoryState, noPrices } from '../test/support/ingest.ts'
import { type CollectorOptions, runCollector, runIngest } from './collector.ts'
import { createFormats } from './formats/index.ts'
import { createPipeline } from './pipeline.ts'
import type { Page, RawRecord } from './source.ts'
import { fileSources } from './sources/file/index.ts'
import { type CollectorSource, createSources, sourcesConfig } from './sources/index.ts'

const NOW = Date.UTC(2026, 2, 2, 12)
const mapping = {
  mapping: { match: { columns: ['t', 'in'] }, fields: { event_time: { column: 't', format: 'epoch-ms' }, provider: { constant: 'openai' }, input_tokens: { column: 'in' } } },
}
const pipeline = createPipeline({
  formats: createFormats([mapping]),
  hash_key: 'a-key-for-tests-only',
  attribution: [],
  rater: noPrices,
  privacy: { truncate_ip: 'none', user_ids: 'keep' },
})

let clock: ManualClock
let bus: MemoryBus
let state: MemoryState
let stop: AbortController
let path: string
beforeEach(async () => {
  clock = new ManualClock(NOW)
  bus = new MemoryBus()
  state = new MemoryState()
  stop = new AbortController()
  path = join(await mkdtemp(join(tmpdir(), 'tokenwatch-')), 'app.jsonl')
})

const line = (n: number, at = NOW - 100_000 + n): string => `{"t":${at},"in":${n}}`
const body = (n: number, at?: number): RawRecord => ({ id: `${n}`, at: 0, ingested_at: null, body: line(n, at), origin: { source: 'test', stream: 'made' } })

const collect = (sources: readonly CollectorSource[], log: Logger = silentLogger, options: CollectorOptions = {}): Promise<void> =>
  runCollector({ sources, pipeline, bus: bus.bus, state, clock, log, random: seededRandom(1), options }, stop.signal)

/** A source that is a script: each read goes on at `after` pages; a page may be an error. */
function scripted(id: string, script: (Page<unknown> | Error)[]): CollectorSource & { reads: unknown[] } {
  const left = [...script]
  const reads: unknown[] = []
  return {
    id,
    kind: 'test',
    stream: 'made',
    reads,
    read: async function* (after) {
      reads.push(after)
      for (let page = left.shift(); page !== undefined; page = left.shift()) {
        if (page instanceof Error) throw page
        yield page
      }
      stop.abort()
    },
  }
}

describe('live collection', () => {
  it('publishes, then moves the checkpoint, then tells the progress', async () => {
    const order: string[] = []
    bus.onPublish = (topic) => order.push(topic)
    const put = state.put.bind(state)
    state.put = async (...given) => (order.push('checkpoint'), put(...given))
    await collect([scripted('a', [{ records: [body(1), body(2)], next: 2, done: true }])])
    expect(order).toEqual(['progress.v1', 'usage.v1', 'checkpoint', 'progress.v1'])
    expect(bus.of('usage.v1').map((event) => event.input_tokens)).toEqual([1, 2])
    expect(bus.of('progress.v1').at(-1)).toMatchObject({
      stream: 'a made',
      source: 'test',
      source_stream: 'made',
      done: true,
      records: 2,
      accepted: 2,
      scanned_to: NOW - 100_000 + 3,
      run_id: null,
    })
  })

  it('announces every stream before one of them says how far it is', async () => {
    await collect([scripted('a', [{ records: [body(1)], next: 1, done: true }]), scripted('b', [{ records: [body(2)], next: 1, done: true }])])
    expect(
      bus
        .of('progress.v1')
        .slice(0, 2)
        .map(({ stream, scanned_to }) => [stream, scanned_to]),
    ).toEqual([
      ['a made', null],
      ['b made', null],
    ])
  })

  it('records = accepted + skipped + rejected', async () => {
    const other = (text: string): RawRecord => ({ ...body(0), body: text })
    await collect([scripted('a', [{ records: [body(1), other('hello'), other('{"t":1,"in":1}'), other(`{"t":${NOW},"in":"x"}`), other('{"cut":')], next: 5, done: true }])])
    const last = bus.of('progress.v1').at(-1)
    expect(last).toMatchObject({ records: 5, accepted: 1, skipped: 1, rejected: 3 })
    expect(bus.of('rejects.v1').map(({ reason }) => reason)).toEqual(['bad-time', 'bad-field', 'invalid-json'])
  })

  it('goes on at the checkpoint, in a followed file, over restarts', async () => {
    const run = async (): Promise<void> => {
      stop = new AbortController()
      const sources = await createSources(sourcesConfig.parse([{ id: 'app', kind: 'file', paths: [path], follow: true }]), { clock, log: silentLogger })
      let looks = 0
      const sleep = clock.sleep.bind(clock)
      clock.sleep = async (ms, signal) => {
        if (++looks > 2) stop.abort()
        await sleep(ms, signal)
      }
      await collect(sources)
      clock.sleep = sleep
    }
    await writeFile(path, `${line(1)}\n${line(2)}\n`)
    await run()
    await appendFile(path, `${line(3)}\n`)
    await run()
    await run()
    expect(bus.of('usage.v1').map((event) => event.input_tokens)).toEqual([1, 2, 3])
    expect(bus.of('progress.v1').at(-1)).toMatchObject({ done: false, blind: false })
    expect(bus.of('progress.v1').at(-1)?.scanned_to).toBeGreaterThan(NOW)
  })

  it('waits for a bus that is away, says so once, and repeats the same ids', async () => {
    const said: string[] = []
    const log = createLogger({ write: (text) => said.push((JSON.parse(text) as { message: string }).message) })
    const source = scripted('a', [{ records: [body(1)], next: 1, done: true }])
    bus.onPublish = () => {
      bus.onPublish = undefined
      bus.fail = { times: 4, written: true }
    }
    await collect([source], log)
    const ids = bus.of('usage.v1').map((event) => event.event_id)
    expect(ids.length).toBe(5)
    expect(new Set(ids).size).toBe(1)
    expect(said.filter((message) => message.startsWith('waiting'))).toEqual(['waiting for the bus'])
    expect(source.reads).toEqual([undefined])
  })

  it('reads again from the last page after a glitch', async () => {
    const source = scripted('a', [{ records: [body(1)], next: 'one' }, new TransientError('reset'), { records: [body(2)], next: 'two', done: true }])
    await collect([source])
    expect(source.reads).toEqual([undefined, 'one'])
    expect(bus.of('usage.v1').length).toBe(2)
    expect(bus.of('progress.v1').some(({ blind }) => blind)).toBe(false)
  })

  it('a stream that cannot be read is blind, named once, and heals; the others go on', async () => {
    const said: string[] = []
    const log = createLogger({ write: (text) => said.push((JSON.parse(text) as { message: string }).message) })
    const bad = scripted('bad', [new PermanentError('grant read permission'), new PermanentError('grant read permission'), { records: [body(1)], next: 1, done: true }])
    const good = scripted('good', [{ records: [body(2)], next: 1, done: true }])
    await collect([bad, good], log)
    expect(said.filter((message) => message.includes('cannot be read'))).toHaveLength(1)
    const blind = bus
      .of('progress.v1')
      .filter(({ stream }) => stream === 'bad made')
      .map((progress) => [progress.blind, progress.reason])
    expect(blind).toEqual([
      [false, null],
      [true, 'grant read permission'],
      [false, null],
    ])
    expect(
      bus
        .of('usage.v1')
        .map((event) => event.input_tokens)
        .sort((a, b) => (a ?? 0) - (b ?? 0)),
    ).toEqual([1, 2])
    expect(clock.now() - NOW, 'tried slowly').toBeGreaterThan(60_000)
  })

  it('has one set of labels for what it measures of a stream', async () => {
    const values = async (name: string) => ((await registry.getSingleMetric(name)?.get())?.values ?? []).filter(({ labels }) => labels['stream'] === 'labels')
    await collect([{ ...scripted('mine', [{ records: [body(1)], next: 1 }, new PermanentError('no'), { records: [], next: 1, scanned_to: NOW, done: true }]), stream: 'labels' }])
    const [[blind], [scanned]] = await Promise.all([values('tokenwatch_ingest_blind'), values('tokenwatch_ingest_scanned_to_seconds')])
    expect([blind?.value, blind?.labels]).toEqual([0, scanned?.labels])
  })

  it('a blind stream says why it is blind now: a second trouble behind the first one is named, too, each once', async () => {
    const said: string[] = []
    const log = createLogger({ write: (text) => said.push((JSON.parse(text) as { error?: string }).error ?? '') })
    const expired = (n: number): PermanentError => new PermanentError(`the secret has expired (trace 5f0c2b1a-${n}, 2026-03-02 12:00:0${n}Z)`)
    const troubles = [expired(1), expired(2), new TransientError('503'), new PermanentError('grant the role'), expired(3), new PermanentError('grant the role')]
    await collect([scripted('bad', [...troubles, { records: [body(1)], next: 1 }, expired(4), { records: [], next: 2, done: true }])], log)
    expect(said.filter((message) => /secret|role/.test(message)).map((message) => message.slice(0, 10))).toEqual(['the secret', 'grant the ', 'the secret'])
    const reasons = bus.of('progress.v1').map(({ reason }) => reason?.slice(0, 10) ?? null)
    expect(reasons.filter((reason, n) => reason !== reasons[n - 1])).toEqual([null, 'the secret', 'grant the ', 'the secret', 'grant the ', null, 'the secret', null])
  })

  it('scanned_to never goes back, never lies in the future; what comes behind it is counted as late', async () => {
    const pages: Page<unknown>[] = [
      { records: [body(1, NOW - 200_000)], next: 1 },
      { records: [body(2, NOW + 3_600_000)], next: 2 },
      { records: [body(3, NOW - 300_000)], next: 3, done: true },
    ]
    await collect([scripted('a', pages)], silentLogger, { checkpoint_every: 0, order_tolerance: 60_000 })
    expect(bus.of('progress.v1').map(({ scanned_to }) => scanned_to)).toEqual([null, NOW - 260_000, NOW, NOW + 3_600_001])
    expect(bus.of('progress.v1').at(-1)?.late).toBe(1)
  })

  it('tells how far behind it is, how late its events came, and what of it was the cloud', async () => {
    const seen = (n: number, at: number, cloud: number): RawRecord => ({ ...body(n, at), at, ingested_at: at + cloud })
    const pages: Page<unknown>[] = [
      { records: Array.from({ length: 100 }, (_, n) => seen(n, NOW - 50_000, n < 95 ? 2_000 : 40_000)), next: 1, scanned_to: NOW - 30_000 },
      { records: [seen(200, NOW - 45_000, 2_000), seen(201, NOW - 7_200_000, 2_000), seen(202, NOW - 8 * 86_400_000, 2_000), seen(203, NOW - 20_000, 2_000)], next: 2 },
      { records: [], next: 3, scanned_to: NOW - 10_000 },
    ]
    await collect([scripted('a', pages)])
    expect(bus.of('progress.v1')[0]).toMatchObject({ scanned_to: null, lag_ms: null, cloud_delay_ms: null, own_delay_ms: null, late: 0 })
    expect(bus.of('progress.v1').at(-1)).toMatchObject({ lag_ms: 10_000, late: 3, late_histogram: [0, 1, 0, 0, 0, 1, 0, 0, 1], cloud_delay_ms: 2_000, own_delay_ms: 48_000 })
  })

  it('a crash between bus and checkpoint repeats the page under the same ids and loses nothing', async () => {
    const pages = (): Page<unknown>[] => [
      { records: [body(1), { ...body(1), id: 'a twin' }, body(2)], next: 3 },
      { records: [body(3)], next: 4, done: true },
    ]
    const source = (): CollectorSource & { reads: unknown[] } => scripted('a', pages())
    const put = state.put.bind(state)
    state.put = async () => {
      // The process dies here: nothing after this line happens.
      stop.abort()
      throw new TransientError('killed')
    }
    await collect([source()])
    const before = bus.of('usage.v1').map((event) => event.event_id)
    expect(before.length).toBe(3)
    state.put = put
    stop = new AbortController()
    const again = source()
    await collect([again])
    expect(again.reads).toEqual([undefined])
    const ids = bus.of('usage.v1').map((event) => event.event_id)
    expect(ids.length).toBe(7)
    expect(new Set(ids).size).toBe(4)
    expect(ids.slice(3, 6)).toEqual(before)
  })

  it('a checkpoint that cannot be read costs a re-read', async () => {
    await state.put('checkpoints', new Map([['a made', Buffer.from('{')]]))
    const source = scripted('a', [{ records: [body(1)], next: 1, done: true }])
    await collect([source])
    expect(source.reads).toEqual([undefined])
  })

  it('writes few checkpoints for many pages', async () => {
    const pages: Page<unknown>[] = Array.from({ length: 500 }, (_, n) => ({ records: [body(n)], next: n }))
    await collect([scripted('a', [...pages, { records: [], next: 499, done: true }])])
    expect(state.puts).toBeLessThan(5)
    expect(Buffer.from((await state.get('checkpoints', 'a made')) ?? []).toString()).toBe('499')
  })
})

describe('a clock that is set back', () => {
  it('does not keep a busy stream from its checkpoints and its progress', async () => {
    const pages: Page<unknown>[] = Array.from({ length: 40 }, (_, n) => ({ records: [body(n)], next: n }))
    const source = scripted('a', [...pages, { records: [], next: 39, done: true }])
    const seen: { checkpoints: number; progress: number }[] = []
    await collect([
      {
        ...source,
        read: async function* (after, signal) {
          for await (const page of source.read(after, signal)) {
            if (seen.push({ checkpoints: state.puts, progress: bus.of('progress.v1').length }) === 5) clock.advance(-3_600_000)
            clock.advance(200)
            yield page
          }
        },
      },
    ])
    expect(seen).toHaveLength(41)
    expect((seen[39]?.checkpoints ?? 0) - (seen[5]?.checkpoints ?? 0)).toBeGreaterThan(4)
    expect((seen[39]?.progress ?? 0) - (seen[5]?.progress ?? 0)).toBeGreaterThan(4)
  })
})

describe('a run of ingest', () => {
  const ingest = async (paths: string[]) =>
    runIngest({ sources: await fileSources(paths, { clock, log: silentLogger }), pipeline, bus: bus.bus, run_id: 'run-1', clock, log: silentLogger }, stop.signal)

  it('counts, marks the events, and ends each stream with done', async () => {
    await writeFile(path, `${line(1)}\nhello\n${line(2)}\n{"t":1,"in":1}\n`)
    await writeFile(`${path}.2`, `${line(3)}\n`)
    expect(await ingest([path, `${path}.2`])).toEqual({
      records: 5,
      accepted: 3,
      skipped: { 'unknown-format': 1 },
      rejected: { 'bad-time': 1 },
      events: { usage: 3, secret_access: 0, credential_change: 0 },
    })
    expect(bus.of('usage.v1').every(({ run_id }) => run_id === 'run-1')).toBe(true)
    const ends = bus.of('progress.v1').filter(({ done }) => done)
    expect(ends.map(({ run_id, source_stream }) => [run_id, source_stream])).toEqual(
      expect.arrayContaining([
        ['run-1', path],
        ['run-1', `${path}.2`],
      ]),
    )
    const firstDone = bus.of('progress.v1').findIndex(({ done }) => done)
    expect(
      new Set(
        bus
          .of('progress.v1')
          .slice(0, firstDone)
          .map(({ stream }) => stream),
      ).size,
      'all are announced before the first is done',
    ).toBe(2)
  })

  it('reads the file that lies furthest back first, so that time goes on in all of them', async () => {
    const many = (from: number): string => Array.from({ length: 3_000 }, (_, n) => line(n, from + n)).join('\n')
    await writeFile(path, many(NOW - 9_000_000))
    await writeFile(`${path}.2`, many(NOW - 9_001_500))
    await ingest([path, `${path}.2`])
    const times = bus.of('usage.v1').map((event) => event.event_time)
    let newest = 0
    let furthest = 0
    for (const time of times) {
      newest = Math.max(newest, time)
      furthest = Math.max(furthest, newest - time)
    }
    expect(furthest).toBeLessThan(3_000)
  })

  it('an unsorted export makes nothing late', async () => {
    const day = 86_400_000
    await writeFile(path, Array.from({ length: 3_000 }, (_, n) => line(n, NOW - ((n * 7_919) % 30) * day)).join('\n'))
    await ingest([path])
    expect(bus.of('progress.v1').at(-1)).toMatchObject({ done: true, late: 0, late_histogram: [], lag_ms: null, accepted: 3_000 })
  })

  it('two equal rows are two events, the same file again is none', async () => {
    await writeFile(path, `${line(1)}\n${line(1)}\n`)
    await ingest([path])
    const first = bus.of('usage.v1').map((event) => event.event_id)
    expect(new Set(first).size).toBe(2)
    await ingest([path])
    expect(new Set(bus.of('usage.v1').map((event) => event.event_id)).size).toBe(2)
  })

  it('rejects when a file cannot be read', async () => {
    await expect(ingest(['/nowhere/x.jsonl'])).rejects.toThrow('no such file: /nowhere/x.jsonl')
  })
})
