/** The example for Azure's public traces: a small made-up one always, the recorded ones where they are. */
import { mkdtemp, readFile, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { openEmbeddedBus } from '../bus/embedded.ts'
import { loadPriceBook } from '../pricing/price-book.ts'
import { createRater } from '../pricing/rate.ts'
import { systemClock } from '../runtime/clock.ts'
import { silentLogger } from '../runtime/log.ts'
import { type AttributionEntry, attributionConfig } from '../schemas/attribution.ts'
import type { UsageEvent } from '../schemas/usage.ts'
import { MemoryBus } from '../test/support/ingest.ts'
import { fieldData, needs } from '../test/support/needs.ts'
import { type IngestSummary, runIngest } from './collector.ts'
import { createFormats, formatsConfig } from './formats/index.ts'
import { createPipeline, type Pipeline } from './pipeline.ts'
import { fileSources } from './sources/file/index.ts'

let pipeline: Pipeline
let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tokenwatch-'))
  const example = parse(await readFile(new URL('../examples/azure-llm-trace.yaml', import.meta.url), 'utf8')) as Record<string, unknown>
  pipeline = createPipeline({
    formats: createFormats(formatsConfig.parse(example['formats'])),
    hash_key: 'a-key-for-tests-only',
    attribution: attributionConfig.parse(example['attribution']) as AttributionEntry[],
    rater: createRater(loadPriceBook()),
    privacy: { truncate_ip: 'none', user_ids: 'keep' },
  })
})

async function ingest(paths: readonly string[]): Promise<{ summary: IngestSummary; events: UsageEvent[] }> {
  const bus = new MemoryBus()
  const sources = await fileSources(paths, { clock: systemClock, log: silentLogger })
  const summary = await runIngest({ sources, pipeline, bus: bus.bus, run_id: 'run', clock: systemClock, log: silentLogger }, new AbortController().signal)
  return { summary, events: bus.of('usage.v1') }
}

/** The lines of a file in parts, with the header in each or only in the first. */
async function cut(name: string, content: string, lines: number, headers: boolean): Promise<string[]> {
  const [header = '', ...rows] = content.split(/\r?\n/).filter((row) => row !== '')
  const paths: string[] = []
  for (let from = 0; from < rows.length; from += lines) {
    const part = rows.slice(from, from + lines).join('\r\n')
    const path = join(folder, name.replace('.csv', `.part${paths.length + 1}.csv`))
    await writeFile(path, headers || from === 0 ? `${header}\r\n${part}` : part)
    paths.push(path)
  }
  return paths
}

const idsOf = (events: readonly UsageEvent[]): string[] => events.map((event) => event.event_id).sort()
const sum = (events: readonly UsageEvent[], field: 'input_tokens' | 'output_tokens'): number => events.reduce((total, event) => total + (event[field] ?? 0), 0)

describe('a made-up trace', () => {
  const content =
    'TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9799600,4808,10\n2023-11-16 18:17:03.9799601,4808,10\n2023-11-16 18:17:04.0319600,3180,8\n2023-11-16 18:17:04.0319600,3180,8'
  it('rows that differ only in 100 ns are different events, equal rows too; cutting changes nothing', async () => {
    const path = join(folder, 'AzureLLMInferenceTrace_code.csv')
    await writeFile(path, content)
    const whole = await ingest([path])
    expect(whole.summary).toMatchObject({ records: 4, accepted: 4 })
    expect(new Set(idsOf(whole.events)).size).toBe(4)
    expect(whole.events[0]).toMatchObject({ owner_ref: 'file:code', team_id: 'code', service: 'code', model: 'gpt-4o', provider: 'azure.ai.openai', cost_usd: '0.01212' })
    expect(idsOf((await ingest(await cut('AzureLLMInferenceTrace_code.csv', content, 2, true))).events)).toEqual(idsOf(whole.events))
  })
})

describe.skipIf(!needs('field-data', 3))('the recorded traces (FIELD_DATA)', () => {
  const names = ['AzureLLMInferenceTrace_code.csv', 'AzureLLMInferenceTrace_conv.csv']
  const paths = names.map((name) => join(fieldData(), 'azure-llm-2023', name))
  let ids: string[]

  it('give exactly 28,185 events with their tokens, each with an id of its own', async () => {
    const { summary, events } = await ingest(paths)
    expect(summary).toEqual({ records: 28_185, accepted: 28_185, skipped: {}, rejected: {}, events: { usage: 28_185, secret_access: 0, credential_change: 0 } })
    expect([sum(events, 'input_tokens'), sum(events, 'output_tokens')]).toEqual([40_421_844, 4_334_561])
    const code = events.filter((event) => event.team_id === 'code')
    expect([code.length, sum(code, 'input_tokens'), sum(code, 'output_tokens')]).toEqual([8_819, 18_059_974, 245_896])
    expect(events.every((event) => event.service === event.team_id && event.owner_ref === `file:${event.team_id}`)).toBe(true)
    ids = idsOf(events)
    expect(new Set(ids).size).toBe(28_185)
  })

  it.each([
    [1_000, true],
    [7_001, false],
  ])('the same ids when the files are cut every %i rows (header in each part: %s)', async (lines, headers) => {
    const parts = await Promise.all(paths.map(async (path, index) => cut(names[index] ?? '', await readFile(path, 'utf8'), lines, headers)))
    const { events } = await ingest(parts.flat())
    expect(idsOf(events)).toEqual(ids)
  })

  it('arrive on the embedded bus', async () => {
    const bus = openEmbeddedBus({ directory: join(folder, 'bus') }, { clock: systemClock, log: silentLogger })
    const sources = await fileSources(paths.slice(0, 1), { clock: systemClock, log: silentLogger })
    await runIngest({ sources, pipeline, bus, run_id: 'run', clock: systemClock, log: silentLogger }, new AbortController().signal)
    let events = 0
    let tokens = 0
    await bus.replay(
      'usage.v1',
      (batch) => {
        events += batch.records.length
        tokens += sum(batch.records, 'input_tokens')
      },
      new AbortController().signal,
    )
    await bus.close()
    expect([events, tokens]).toEqual([8_819, 18_059_974])
  })
})
