/**
 * A made-up company for tests: seeded traffic of many keys over weeks, and incidents to lay over it. Events are normalised
 * already, in event-time order. Never imports detect/ (and detect/ never imports this).
 */
import { nameUuid } from '../../runtime/ids.ts'
import { type Random, seededRandom } from '../../runtime/random.ts'
import type { UsageEvent } from '../../schemas/usage.ts'

export const DAY = 86_400_000
export const HOUR = 3_600_000
export const MINUTE = 60_000
/** A Monday. */
export const START = Date.UTC(2026, 8, 7)

type Shape = 'service' | 'office' | 'sparse' | 'nightly'
const shapes: readonly Shape[] = ['service', 'office', 'office', 'sparse', 'service', 'nightly', 'sparse', 'office']
const models: readonly { name: string; input: number; output: number }[] = [
  { name: 'gpt-4o-mini-2024-07-18', input: 0.15, output: 0.6 },
  { name: 'gpt-4o-2024-08-06', input: 2.5, output: 10 },
  { name: 'text-embedding-3-small', input: 0.02, output: 0 },
]
export const EXPENSIVE = { name: 'o1-2024-12-17', input: 15, output: 60 }

export interface Place {
  ip: string
  country: string
  asn: number
  as_name: string
}
export const cloudPlace = (key: number, n: number): Place => ({ ip: `198.51.${key}.${10 + n}`, country: 'US', asn: 16509, as_name: 'AMAZON-02' })

export interface ScenarioOptions {
  seed: number
  keys?: number
  days?: number
  start?: number
}

interface KeyPlan {
  id: string
  index: number
  shape: Shape
  /** Requests per minute at the peak. */
  peak: number
  model: (typeof models)[number]
  places: number
}

/** Quiet traffic: day and week cycle, heavy-tailed sizes, 2 % errors, a deploy that changes addresses inside the same network. */
export function quietMonth({ seed, keys = 24, days = 30, start = START }: ScenarioOptions): UsageEvent[] {
  const random = seededRandom(seed)
  const events: UsageEvent[] = []
  for (let index = 0; index < keys; index++) events.push(...keyTraffic(plan(index, random), random, start, days))
  return events.sort((a, b) => a.event_time - b.event_time || (a.event_id < b.event_id ? -1 : 1))
}

function plan(index: number, random: Random): KeyPlan {
  const shape = shapes[index % shapes.length] ?? 'service'
  const peak = shape === 'sparse' ? 0.05 + random() * 0.1 : shape === 'nightly' ? 6 : 0.4 + random() ** 3 * 3
  return { id: `fp_${String(index).padStart(4, '0')}`, index, shape, peak, model: models[index % models.length] ?? EXPENSIVE, places: 1 + Math.floor(random() * 4) }
}

function* keyTraffic(key: KeyPlan, random: Random, start: number, days: number): Generator<UsageEvent> {
  for (let at = start; at < start + days * DAY;) {
    const rate = rateAt(key, at)
    // Thinning by the hour: exponential gaps at the rate of now, at most an hour long.
    const gap = rate > 0 ? (-Math.log(1 - random()) / rate) * MINUTE : Infinity
    const next_hour = at - (at % HOUR) + HOUR
    if (at + gap >= next_hour) {
      at = next_hour
      continue
    }
    at += Math.max(1, Math.round(gap))
    yield call(key, random, at, start)
  }
}

function rateAt(key: KeyPlan, at: number): number {
  const hour = Math.floor(at / HOUR) % 24
  const weekday = (Math.floor(at / DAY) + 4) % 7
  const weekend = weekday === 0 || weekday === 6
  if (key.shape === 'sparse') return key.peak
  if (key.shape === 'nightly') return hour === 2 ? key.peak : 0
  const wave = 0.5 + 0.5 * Math.cos(((hour - 14) / 24) * 2 * Math.PI)
  if (key.shape === 'office') return weekend || hour < 7 || hour > 18 ? 0.01 * key.peak : key.peak * wave
  return key.peak * (0.3 + 0.7 * wave) * (weekend ? 0.6 : 1)
}

function call(key: KeyPlan, random: Random, at: number, start: number): UsageEvent {
  const input = Math.round(Math.exp(6.5 + 1.1 * normal(random)))
  const output = Math.round(Math.exp(5.2 + 0.9 * normal(random)))
  const deploy = at > start + 15 * DAY ? 100 : 0 // half-way everything moves to other addresses of the same network
  const place = cloudPlace(key.index, deploy + Math.floor(random() * key.places))
  const event = usage({ key: key.id, team: `team-${key.index % 5}`, at, input, output, model: key.model, place, n: Math.floor(random() * 2 ** 31) })
  return random() < 0.02 ? failed(event, random() < 0.6 ? 'rate_limited' : random() < 0.5 ? 'client_error' : 'server_error') : event
}

interface CallParts {
  key: string
  team: string
  at: number
  input: number
  output: number
  model: { name: string; input: number; output: number }
  place: Place | null
  n: number
}

/** Prices are dollars per million tokens, so a token of input costs `input` micro-dollars. */
export function usage({ key, team, at, input, output, model, place, n }: CallParts): UsageEvent {
  const cost = ((input * model.input + output * model.output) / 1e6).toFixed(12)
  return {
    event_id: nameUuid('scenario', key, at, n),
    event_time: at,
    observed_time: at + 5000,
    delivered_time: null,
    source: 'scenario',
    source_stream: 'scenario',
    format: 'scenario',
    run_id: null,
    revision: 0,
    account_id: null,
    region: 'us-east-1',
    owner_ref: `key:${key}`,
    team_id: team,
    service: `service-${key}`,
    client_ip: place?.ip ?? null,
    client_ip_prefix: place ? 32 : null,
    client_country: place?.country ?? null,
    client_asn: place?.asn ?? null,
    client_as_name: place?.as_name ?? null,
    user_agent: 'openai-python/1.40.0',
    flags: [],
    provider: 'openai',
    operation: 'chat',
    project_id: null,
    org_id: null,
    api_key_id: key,
    user_id: null,
    deployment: null,
    model: model.name,
    request_model: model.name,
    tier: 'default',
    ctx: 'std',
    stream: false,
    input_tokens: input,
    cache_read_input_tokens: 0,
    cache_write_input_tokens: 0,
    audio_input_tokens: 0,
    image_input_tokens: 0,
    output_tokens: output,
    reasoning_output_tokens: 0,
    audio_output_tokens: 0,
    image_output_tokens: 0,
    images: 0,
    audio_duration_ms: 0,
    requests: 1,
    usage_source: 'provider',
    cost_usd: cost,
    list_cost_usd: cost,
    cost_source: 'priced',
    price_version: 'test',
    status_code: 200,
    outcome: 'success',
    error_type: null,
    error_code: null,
    duration_ms: 900,
    request_id: null,
    response_id: null,
  }
}

const codes = {
  client_error: [400, 'invalid_value'],
  auth_failure: [401, 'invalid_api_key'],
  rate_limited: [429, 'rate_limit_exceeded'],
  quota: [429, 'insufficient_quota'],
  server_error: [500, 'server_error'],
} as const

export function failed(event: UsageEvent, outcome: keyof typeof codes, code?: string): UsageEvent {
  const [status, reason] = codes[outcome]
  return {
    ...event,
    outcome,
    status_code: status,
    error_type: outcome,
    error_code: code ?? reason,
    model: null,
    input_tokens: null,
    output_tokens: null,
    usage_source: 'absent',
    cost_usd: null,
    list_cost_usd: null,
    cost_source: 'none',
  }
}

/** Standard normal, Box and Muller. */
export const normal = (random: Random): number => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
