/**
 * Builds a dated price book from two public lists (both MIT): genai-prices wins for dates and history, LiteLLM fills tiers and
 * models. Disagreements are printed: each needs a person, who decides in corrections.json.
 *
 *   node scripts/prices/build.ts GENAI_PRICES.json LITELLM.json LITELLM_VERSION DATE > report-DATE.txt      writes pricing/books/DATE.json
 *
 * GENAI_PRICES.json comes from export-genai-prices.py; LITELLM.json is litellm/model_prices_and_context_window_backup.json of the wheel.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { BookEntry } from '../../pricing/book-file.ts'
import { bookFile } from '../../pricing/book-file.ts'
import { type GenaiPrices, type Listed, type Period, type Prices, readGenaiPrices, readLitellm } from './sources.ts'

const [genaiPath, litellmPath, litellmVersion, date] = process.argv.slice(2)
if (genaiPath === undefined || litellmPath === undefined || litellmVersion === undefined || date === undefined)
  throw new Error('usage: build.ts GENAI_PRICES.json LITELLM.json LITELLM_VERSION DATE')
const genai = readGenaiPrices(genaiPath)
const litellm = readLitellm(litellmPath)
const corrections = bookFile.parse(JSON.parse(readFileSync(new URL('corrections.json', import.meta.url), 'utf8')))
const disagreements: string[] = []

// Snapshots of retired models, which no list spells out any more but logs of their time do.
const RETIRED = [
  'gpt-4.5-preview-2025-02-27',
  'gpt-4o-audio-preview-2024-10-01',
  'gpt-4o-realtime-preview-2024-10-01',
  'gpt-4o-realtime-preview-2024-12-17',
  'gpt-4o-realtime-preview-2025-06-03',
]

const openaiNames = new Set([...RETIRED, ...litellm.openai.keys(), ...genai.names('openai').filter((name) => !name.startsWith('gpt-35'))])
const azureNames = new Set([...litellm.azure.keys(), ...genai.names('azure'), ...genai.names('openai').filter(isAzureModel)].flatMap(azureSpellings))
const corrected = new Set(corrections.entries.flatMap((entry) => entry.models.map((model) => `${entry.provider}/${model}`)))

const entries = [
  ...corrections.entries,
  ...grouped('openai', [...openaiNames], (name) => merge(`openai/${name}`, genai.find('openai', name), litellm.openai.get(name))),
  ...grouped('azure.ai.openai', [...azureNames], (name) => {
    const plain = name.replace(/^gpt-35/, 'gpt-3.5')
    return merge(`azure/${name}`, azureGenai(genai, name, plain), litellm.azure.get(name) ?? litellm.azure.get(plain))
  }),
]
const book = bookFile.parse({
  version: date,
  currency: 'USD',
  sources: [
    { id: 'genai-prices', version: genai.version, licence: 'MIT', origin: 'PyPI genai-prices' },
    { id: 'litellm', version: litellmVersion, licence: 'MIT', origin: 'PyPI litellm, model_prices_and_context_window_backup.json' },
    ...corrections.sources,
  ],
  entries: entries.sort((a, b) => (a.provider + a.models[0]! < b.provider + b.models[0]! ? -1 : 1)),
})
writeFileSync(fileURLToPath(new URL(`../../pricing/books/${date}.json`, import.meta.url)), `${oneLinePerPeriod(book)}\n`)
process.stdout.write(
  `${book.entries.length} entries, ${book.entries.flatMap((entry) => entry.models).length} names\n${disagreements.length} disagreements\n${disagreements.join('\n')}\n`,
)

/** genai-prices lets Azure fall back to OpenAI's list; so do we, for OpenAI's own models. */
function azureGenai(list: GenaiPrices, name: string, plain: string): Listed | undefined {
  return list.find('azure', plain) ?? list.find('openai', plain) ?? list.find('openai', name)
}

function isAzureModel(name: string): boolean {
  return /^(gpt-|o\d|text-embedding|whisper|tts-|codex-|computer-use)/.test(name) && !/^gpt-[\d.]+-?\d?[^-]*:|chat-latest|^gpt-5-\d/.test(name)
}

function azureSpellings(name: string): string[] {
  return /^gpt-3\.?5-turbo/.test(name) ? [name.replace(/^gpt-3\.?5/, 'gpt-35'), name.replace(/^gpt-3\.?5/, 'gpt-3.5')] : [name]
}

function merge(what: string, first: Listed | undefined, second: Listed | undefined): Omit<BookEntry, 'provider' | 'models'> | undefined {
  const base = first ?? second
  if (base === undefined) return undefined
  const periods = base.periods.map((period, index): Period & { until: string | null } => {
    const until = base.periods[index + 1]?.from ?? null
    const prices = new Map([...period.prices].map(([at, set]) => [at, { ...set }]))
    // LiteLLM is undated: it speaks of the open period only.
    if (until === null && first !== undefined) for (const [at, set] of second?.periods[0]?.prices ?? []) fill(what, prices, at, set, first.exact)
    return { from: period.from, until, prices }
  })
  const mode = second?.mode ?? null
  const rows = periods.flatMap((period) =>
    [...period.prices].flatMap(([at, usd]) => {
      const [tier = '', ctx = ''] = at.split('/')
      const derived = derive(usd, mode, what)
      return Object.keys(usd).length === 0 ? [] : [{ tier, ctx: ctx as 'std' | 'long', from: period.from, until: period.until, usd, ...(derived.length > 0 ? { derived } : {}) }]
    }),
  )
  const long = rows.some((row) => row.ctx === 'long')
  if (first?.long_context_above && second?.long_context_above && first.long_context_above !== second.long_context_above)
    disagreements.push(`${what} long-context threshold: ${first.long_context_above} / ${second.long_context_above}`)
  return rows.length === 0
    ? undefined
    : {
        long_context_above: long ? (first?.long_context_above ?? second?.long_context_above ?? null) : null,
        prices: rows,
        source: [first && 'genai-prices', second && 'litellm'].filter((id) => id !== undefined),
      }
}

/** A name that genai-prices only covers by a prefix rule is LiteLLM's where it spells the name out. */
function fill(what: string, prices: Map<string, Prices>, at: string, set: Prices, exact: boolean): void {
  const into = prices.get(at) ?? {}
  for (const [meter, price] of Object.entries(set) as [keyof Prices, string][]) {
    const known = into[meter]
    if (known !== undefined && known !== price) disagreements.push(`${what} ${at} ${meter}: genai-prices ${known} litellm ${price}, took ${exact ? known : price}`)
    if (!exact || known === undefined) into[meter] = price
  }
  prices.set(at, into)
}

/**
 * What the lists leave unsaid because it costs nothing extra: without a cache discount cached input is billed as input; without a
 * fee of its own a cache write is input; chat models bill image input as text tokens; image models without a text output make images only.
 */
function derive(usd: Prices, mode: string | null, what: string): (keyof Prices)[] {
  const derived: (keyof Prices)[] = []
  const put = (meter: keyof Prices, price: string | undefined) => {
    if (usd[meter] !== undefined || price === undefined) return
    usd[meter] = price
    derived.push(meter)
  }
  const image = mode === 'image_generation' || /gpt-image|chatgpt-image/.test(what)
  if (image) {
    put('out_image', usd.out_text)
    put('out_text', usd.out_image)
  }
  // A price per time beside prices per token is an estimate of the same thing: charging both would count it twice.
  if (usd.in_audio !== undefined || usd.in_uncached !== undefined) delete usd.audio_duration_ms
  put('in_cache_read', usd.in_uncached)
  put('in_cache_write', usd.in_uncached)
  if (!image && usd.out_text !== undefined) put('in_image', usd.in_uncached)
  return derived
}

/** Names with the same prices share an entry. */
function grouped(provider: string, names: string[], pricesOf: (name: string) => Omit<BookEntry, 'provider' | 'models'> | undefined): BookEntry[] {
  const groups = new Map<string, BookEntry>()
  for (const name of names.sort()) {
    const priced = corrected.has(`${provider}/${name}`) ? undefined : pricesOf(name)
    if (priced === undefined) continue
    const key = JSON.stringify(priced)
    const group = groups.get(key)
    if (group) group.models.push(name)
    else groups.set(key, { provider, models: [name], ...priced })
  }
  return [...groups.values()]
}

function oneLinePerPeriod(value: unknown): string {
  return JSON.stringify(value, null, 1)
    .replace(/\{\n\s+"tier"[^]*?\n {4}\}/g, (block) => block.replace(/\n\s*/g, ' '))
    .replace(/\[\n\s+("[^\]]*?")\n\s+\]/g, (_, inner: string) => `[${inner.replace(/\n\s*/g, ' ')}]`)
}
