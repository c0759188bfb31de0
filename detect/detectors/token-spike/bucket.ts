/** What one key did in one bucket of five minutes: sums that only grow, so the order of events does not matter. */
import { usdToPico } from '../../../pricing/money.ts'
import type { UsageEvent } from '../../../schemas/usage.ts'
import { type Emissions, nothingTold } from '../../emissions.ts'
import { microOf } from '../../money.ts'

export const BUCKET_MS = 300_000
const MINUTE_MS = 60_000
const MODELS = 12
const ADDRESSES = 8

interface ModelUse {
  requests: number
  tokens: number
  pico: bigint
}

export interface Bucket extends Emissions {
  start: number
  first: number
  last: number
  requests: number
  failed: number
  minutes: number[]
  /** Known tokens; `unmetered` requests carried none. */
  tokens: number
  unmetered: number
  pico: bigint
  /** Requests with tokens but without a price. */
  unpriced: number
  models: Map<string, ModelUse>
  /** Addresses that the key had not used before this bucket. */
  fresh_addresses: string[]
  owner: Owner
}

export interface Owner {
  team_id: string | null
  service: string | null
  owner_ref: string
  api_key_id: string | null
  provider: string
}

export const startOf = (time: number): number => time - (time % BUCKET_MS)

export function newBucket(event: UsageEvent): Bucket {
  return {
    start: startOf(event.event_time),
    first: event.event_time,
    last: event.event_time,
    requests: 0,
    failed: 0,
    minutes: [0, 0, 0, 0, 0],
    tokens: 0,
    unmetered: 0,
    pico: 0n,
    unpriced: 0,
    models: new Map(),
    fresh_addresses: [],
    ...nothingTold,
    owner: ownerOf(event),
  }
}

export function addTo(bucket: Bucket, event: UsageEvent, known_address: (address: string) => boolean): void {
  const { requests, event_time } = event
  bucket.first = Math.min(bucket.first, event_time)
  if (event_time >= bucket.last) {
    bucket.last = event_time
    bucket.owner = ownerOf(event)
  }
  bucket.requests += requests
  if (event.outcome !== 'success') bucket.failed += requests
  const minute = Math.floor((event_time - bucket.start) / MINUTE_MS)
  bucket.minutes[minute] = (bucket.minutes[minute] ?? 0) + requests
  const metered = event.input_tokens !== null || event.output_tokens !== null
  const tokens = (event.input_tokens ?? 0) + (event.output_tokens ?? 0)
  bucket.tokens += tokens
  // A refused request has no tokens and costs nothing: only answers without usage make us blind.
  if (!metered && event.outcome === 'success') bucket.unmetered += requests
  const pico = event.cost_usd === null ? 0n : usdToPico(event.cost_usd)
  bucket.pico += pico
  if (event.cost_usd === null && tokens > 0) bucket.unpriced += requests
  addModel(bucket, event.model ?? event.request_model ?? 'unknown', requests, tokens, pico)
  const address = event.client_ip
  if (address !== null && bucket.fresh_addresses.length < ADDRESSES && !bucket.fresh_addresses.includes(address) && !known_address(address)) bucket.fresh_addresses.push(address)
}

function addModel(bucket: Bucket, model: string, requests: number, tokens: number, pico: bigint): void {
  const name = bucket.models.has(model) || bucket.models.size < MODELS ? model : 'others'
  const use = bucket.models.get(name)
  if (use === undefined) bucket.models.set(name, { requests, tokens, pico })
  else {
    use.requests += requests
    use.tokens += tokens
    use.pico += pico
  }
}

export interface Sizes {
  /** Micro-dollars. */
  cost: number
  tokens: number
  /** Requests of the busiest minute. */
  requests: number
}

export const sizesOf = (bucket: Bucket): Sizes => ({ cost: microOf(bucket.pico), tokens: bucket.tokens, requests: Math.max(...bucket.minutes) })

export const bucketToJSON = (bucket: Bucket): unknown => ({
  ...bucket,
  pico: bucket.pico.toString(),
  models: [...bucket.models].map(([name, { requests, tokens, pico }]) => [name, requests, tokens, pico.toString()]),
})

export function bucketFromJSON(json: unknown): Bucket {
  const raw = json as Omit<Bucket, 'pico' | 'models'> & { pico: string; models: [string, number, number, string][] }
  return { ...raw, pico: BigInt(raw.pico), models: new Map(raw.models.map(([name, requests, tokens, pico]) => [name, { requests, tokens, pico: BigInt(pico) }])) }
}

function ownerOf({ team_id, service, owner_ref, api_key_id, provider }: UsageEvent): Owner {
  return { team_id, service, owner_ref, api_key_id, provider }
}
