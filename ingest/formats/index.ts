/** The registry of formats, and how the config names them. The order here is the default order: the first that accepts wins. */
import { z } from 'zod'
import { UsageError } from '../../runtime/errors.ts'
import type { Format, FormatSpec, Joiner } from '../format.ts'
import { azureApim } from './azure-apim/index.ts'
import { azureKeyVault } from './azure-key-vault/index.ts'
import { cloudTrail } from './cloudtrail/index.ts'
import { mapping } from './mapping/index.ts'
import { openAiHttp } from './openai-http/index.ts'

/** A registered format with its config type forgotten: `open` checks the config itself. */
export interface FormatEntry {
  id: string
  summary: string
  config: z.ZodType
  example: unknown
  /** Throws UsageError for a config that does not fit. */
  open(config: unknown): Format
  joiner?: Joiner
}

const entry = <C>(spec: FormatSpec<C>): FormatEntry => ({
  id: spec.id,
  summary: spec.summary,
  config: spec.config,
  example: spec.example,
  ...(spec.joiner === undefined ? {} : { joiner: spec.joiner }),
  open: (config) => {
    const parsed = spec.config.safeParse(config)
    if (parsed.success) return spec.create(parsed.data)
    throw new UsageError(parsed.error.issues.map((issue) => `formats: ${[spec.id, ...issue.path].join('.')}: ${issue.message}`))
  },
})

export const formats: readonly FormatEntry[] = [entry(azureApim), entry(openAiHttp), entry(cloudTrail), entry(azureKeyVault), entry(mapping)]

/** How the parts of a format's records are joined, by format id. */
export const joiners = (): ReadonlyMap<string, Joiner> => new Map(formats.flatMap(({ id, joiner }) => (joiner === undefined ? [] : [[id, joiner] as const])))

/** Ids of all formats, for `--format` and messages. */
export const builtinFormats = (): string[] => formats.map((format) => format.id)

const [first, ...others] = formats.flatMap((format) => [z.strictObject({ [format.id]: format.config })])

/** A string id, or {id: config}. */
export const formatChoice = z.union([z.enum(builtinFormats()), ...(first === undefined ? [] : [first, ...others])])

/** Formats that need no config of their own: what runs when the config names none. */
const defaultFormats = (): string[] => formats.flatMap((format) => (format.config.safeParse({}).success ? [format.id] : []))

export const formatsConfig = z
  .array(formatChoice)
  .min(1)
  .default(defaultFormats)
  .describe('formats in order, the first that accepts a record wins; a string id, or {id: {…config}}; default: all that need no config')
export type FormatsConfig = z.infer<typeof formatsConfig>

/** Formats in the order of the config. Throws UsageError for an unknown id or a config that does not fit. */
export function createFormats(choices: readonly (string | Readonly<Record<string, unknown>>)[] = defaultFormats()): Format[] {
  return choices.map((choice) => {
    const [id = '', config = {}] = typeof choice === 'string' ? [choice] : (Object.entries(choice)[0] ?? [])
    const found = formats.find((format) => format.id === id)
    if (found === undefined) throw new UsageError(`unknown format "${id}"; formats: ${builtinFormats().join(', ')}`)
    return found.open(config)
  })
}
