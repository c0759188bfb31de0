/** What every pull source must do. A source needs a world to read from: the harness makes one that holds given bodies. */
import { afterAll, describe, expect, it } from 'vitest'
import type { Clock } from '../../runtime/clock.ts'
import { silentLogger } from '../../runtime/log.ts'
import { isAbort } from '../../runtime/errors.ts'
import type { Page, RawRecord } from '../../ingest/source.ts'
import { type CollectorSource, createSources, sources, sourcesConfig } from '../../ingest/sources/index.ts'
import { ManualClock } from '../support/ingest.ts'

export interface SourceHarness {
  /** Config of the plugin for a finite world with these bodies, in order. */
  holding(bodies: readonly string[]): Promise<Record<string, unknown>>
  /** Config for a world that is not there: `probe` must say so. */
  missing(): Promise<Record<string, unknown>>
}

/** A world that goes on: the source waits for more, it has no end. */
export interface EndlessHarness {
  /** Config of the plugin, and the clock to read with, for a world that holds these bodies and gets no more. */
  holding(bodies: readonly string[]): Promise<{ config: Record<string, unknown>; clock: Clock }>
  missing(): Promise<Record<string, unknown>>
  close(): Promise<void>
}

/** What a source must do that reads a cloud: everything at least once from wherever it goes on, nothing that is not there. */
export function endlessSourceContract(id: string, harness: EndlessHarness): void {
  const bodies = Array.from({ length: 345 }, (_, index) => JSON.stringify({ n: index, text: `é "${'x'.repeat(index % 50)}` }))
  const open = async (config: Record<string, unknown>, clock: Clock = new ManualClock(NOW)): Promise<CollectorSource> => {
    const [source] = await createSources(sourcesConfig.parse([{ id: 'test', kind: id, ...config }]), { clock, log: silentLogger })
    if (source === undefined) throw new Error('no stream')
    return source
  }
  /** Pages until so many records were seen, and two more idle ones. */
  const pagesOf = async (source: CollectorSource, records: number, after?: unknown): Promise<Page<unknown>[]> => {
    const pages: Page<unknown>[] = []
    let idle = 0
    for await (const page of source.read(after, new AbortController().signal)) {
      pages.push(page)
      const seen = pages.reduce((sum, one) => sum + one.records.length, 0)
      if (seen >= records && page.records.length === 0 && ++idle === 2) break
    }
    return pages
  }
  const bodiesOf = (pages: readonly Page<unknown>[]): string[] => pages.flatMap(({ records }) => records.map(({ body }) => body))

  describe(`source ${id}`, () => {
    afterAll(() => harness.close())

    it('has an example that its config accepts', () => {
      const entry = sources.find((source) => source.id === id)
      expect(entry?.config.safeParse(entry.example).success).toBe(true)
    })

    it('gives every record once, names itself on it, and says how far it is', async () => {
      const { config, clock } = await harness.holding(bodies)
      const source = await open(config, clock)
      const pages = await pagesOf(source, bodies.length)
      expect(bodiesOf(pages).sort()).toEqual([...bodies].sort())
      for (const record of pages.flatMap((page) => page.records)) expect(record).toMatchObject({ origin: { source: id, stream: source.stream } })
      expect(pages.some((page) => page.done === true)).toBe(false)
      expect(pages.at(-1)?.scanned_to).toBeGreaterThan(NOW - 3_600_000)
      expect(pages.at(-1)?.scanned_to).toBeLessThanOrEqual(clock.now())
    })

    it('loses nothing wherever it goes on', async () => {
      const { config, clock } = await harness.holding(bodies)
      const pages = await pagesOf(await open(config, clock), bodies.length)
      for (const [index, page] of pages.entries()) {
        const before = bodiesOf(pages.slice(0, index + 1))
        const next: unknown = JSON.parse(JSON.stringify(page.next))
        const missing = bodies.length - new Set(before).size
        const rest = bodiesOf(await pagesOf(await open(config, clock), missing, next))
        expect(new Set([...before, ...rest]).size).toBe(bodies.length)
      }
    })

    it('gives the same stream name after a restart', async () => {
      const { config } = await harness.holding(bodies.slice(0, 1))
      expect((await open(config)).stream).toBe((await open(config)).stream)
    })

    it('ends soon when the signal aborts', async () => {
      const { config, clock } = await harness.holding(bodies)
      const stop = new AbortController()
      try {
        for await (const page of (await open(config, clock)).read(undefined, stop.signal)) if (page.records.length > 0) stop.abort()
      } catch (error) {
        if (!isAbort(error) && !stop.signal.aborted) throw error
      }
      expect(stop.signal.aborted).toBe(true)
    })

    it('says what is missing', async () => {
      const source = await open(await harness.missing())
      await expect(source.probe?.(new AbortController().signal)).rejects.toThrow(/\S{3,}/)
    })
  })
}

export function sourceContract(id: string, harness: SourceHarness): void {
  const open = async (config: Record<string, unknown>): Promise<CollectorSource> => {
    const [source] = await createSources(sourcesConfig.parse([{ id: 'test', kind: id, ...config }]), { clock: new ManualClock(NOW), log: silentLogger })
    if (source === undefined) throw new Error('no stream')
    return source
  }
  const bodies = Array.from({ length: 2_345 }, (_, index) => JSON.stringify({ n: index, text: `é "${'x'.repeat(index % 50)}` }))

  describe(`source ${id}`, () => {
    it('has an example that its config accepts', () => {
      const entry = sources.find((source) => source.id === id)
      expect(entry?.config.safeParse(entry.example).success).toBe(true)
    })

    it('gives every record once, in order, and says when it is done', async () => {
      const pages = await all(await open(await harness.holding(bodies)))
      expect(pages.flatMap(({ records }) => records.map(({ body }) => body))).toEqual(bodies)
      expect(pages.at(-1)?.done).toBe(true)
      expect(pages.slice(0, -1).every((page) => page.done !== true)).toBe(true)
      for (const { records } of pages) expect(new Set(records.map(({ id }) => id)).size).toBe(records.length)
    })

    it('names its plugin and stream on every record', async () => {
      const source = await open(await harness.holding(bodies.slice(0, 3)))
      const records = (await all(source)).flatMap((page) => page.records)
      for (const record of records)
        expect(record).toMatchObject({ origin: { source: id }, ingested_at: null } satisfies Partial<Omit<RawRecord, 'origin'>> & { origin: { source: string } })
      expect(source.stream).not.toBe('')
      expect(source.kind).toBe(id)
    })

    it('goes on behind any page with exactly what is left', async () => {
      const source = await open(await harness.holding(bodies))
      const pages = await all(source)
      let before = 0
      for (const page of pages) {
        before += page.records.length
        const next: unknown = JSON.parse(JSON.stringify(page.next))
        const rest = (await all(source, next)).flatMap(({ records }) => records.map(({ body }) => body))
        expect(rest).toEqual(bodies.slice(before))
      }
    })

    it('gives the same stream name after a restart', async () => {
      const config = await harness.holding(bodies.slice(0, 1))
      expect((await open(config)).stream).toBe((await open(config)).stream)
    })

    it('ends soon when the signal aborts', async () => {
      const source = await open(await harness.holding(bodies))
      const stop = new AbortController()
      let pages = 0
      try {
        for await (const page of source.read(undefined, stop.signal)) {
          pages += page.records.length > 0 ? 1 : 0
          stop.abort()
        }
      } catch (error) {
        if (!isAbort(error)) throw error
      }
      expect(pages).toBe(1)
    })

    it('reads an empty world to its end', async () => {
      const pages = await all(await open(await harness.holding([])))
      expect(pages.flatMap((page) => page.records)).toEqual([])
      expect(pages.at(-1)?.done).toBe(true)
    })

    it('says what is missing', async () => {
      const source = await open(await harness.missing())
      await expect(source.probe?.(new AbortController().signal)).rejects.toThrow(/\S{3,}/)
    })
  })
}

const NOW = Date.UTC(2026, 2, 2, 12)

async function all(source: CollectorSource, after?: unknown): Promise<Page<unknown>[]> {
  const pages: Page<unknown>[] = []
  for await (const page of source.read(after, new AbortController().signal)) pages.push(page)
  return pages
}
