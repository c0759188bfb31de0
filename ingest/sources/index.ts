/** The registry of pull sources, and how the config names them. */
import { z } from 'zod'
import { label } from '../../schemas/scalars.ts'
import { createFormats, formatsConfig } from '../formats/index.ts'
import type { Format } from '../format.ts'
import type { Page, Source, SourceContext, SourceSpec } from '../source.ts'
import { azureMonitor } from './azure-monitor/index.ts'
import { cloudwatchLogs } from './cloudwatch-logs/index.ts'
import { file } from './file/index.ts'

/** A stream to be collected. `id` is the name in the config, `kind` the plugin. */
export interface CollectorSource {
  id: string
  kind: string
  stream: string
  /** Formats of this source alone; undefined: those of the pipeline. */
  formats?: readonly Format[]
  read(after: unknown, signal: AbortSignal): AsyncIterable<Page<unknown>>
  probe?(signal: AbortSignal): Promise<void>
}

interface SourceEntry {
  id: string
  summary: string
  config: z.ZodObject
  example: unknown
  open(config: unknown, context: SourceContext): Promise<Omit<CollectorSource, 'id' | 'formats'>[]>
}

/** `config` must be an object schema: the fields id, kind and formats are added to it. */
const entry = <C>(spec: SourceSpec<C> & { config: z.ZodObject }): SourceEntry => ({
  id: spec.id,
  summary: spec.summary,
  config: spec.config,
  example: spec.example,
  open: async (config, context) => {
    const opened = await spec.create(config as C, context)
    return opened.map((source) => opening(spec.id, source))
  },
})

const opening = (kind: string, source: Source<unknown>): Omit<CollectorSource, 'id' | 'formats'> => ({
  kind,
  stream: source.stream,
  read: (after, signal) => source.read(after, signal),
  ...(source.probe === undefined ? {} : { probe: (signal: AbortSignal) => source.probe?.(signal) ?? Promise.resolve() }),
})

/** A stream that a source has found while it was read: it has the name and the formats of its finder. */
export const asCollectorSource = (source: Source<unknown>, finder: CollectorSource): CollectorSource => ({
  id: finder.id,
  ...opening(finder.kind, source),
  ...(finder.formats === undefined ? {} : { formats: finder.formats }),
})

export const sources: readonly SourceEntry[] = [entry(file), entry(cloudwatchLogs), entry(azureMonitor)]

const name = label
  .min(1)
  .regex(/^[\w.-]+$/, 'letters, digits, dot, dash and underscore')
  .describe('your name for this source: it names checkpoints, so keep it')
const choices = sources.map((source) => z.strictObject({ id: name, kind: z.literal(source.id), formats: formatsConfig.unwrap().optional(), ...source.config.shape }))
const [first, ...others] = choices
if (first === undefined) throw new Error('the registry of sources is empty')

export const sourcesConfig = z
  .array(z.discriminatedUnion('kind', [first, ...others]))
  .refine((list) => new Set(list.map((source) => source.id)).size === list.length, 'two sources have the same id')
  .default([])
  .describe('where logs are read from')
export type SourcesConfig = z.infer<typeof sourcesConfig>

/** Every stream of every configured source. Throws UsageError for a config that cannot work. */
export async function createSources(configs: SourcesConfig, context: SourceContext): Promise<CollectorSource[]> {
  const all: CollectorSource[] = []
  for (const { id, kind, formats, ...config } of configs) {
    const found = sources.find((source) => source.id === kind)
    const own = formats === undefined ? {} : { formats: createFormats(formats) }
    for (const opened of (await found?.open(config, context)) ?? []) all.push({ id, ...opened, ...own })
  }
  return all
}
