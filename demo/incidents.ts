/** What goes wrong in a live demo: three kinds of incident, the first ones at once, then again on other keys every few minutes. */
import { type Random, seededRandom } from '../runtime/random.ts'
import type { Company, Operation, Service } from './company.ts'
import { type Call, type CallError, logLine } from './lines.ts'
import { hex } from './made-up.ts'
import { pick, type TimedLine } from './sampling.ts'
import { ordinaryCall } from './traffic.ts'

export type IncidentKind = 'token-spike' | 'invalid-request-burst' | 'geography'

export interface Incident {
  kind: IncidentKind
  service: Service
  /** Epoch ms of its first line. */
  from: number
  lines: TimedLine[]
}

const FIRST_MS = 5_000
const ROUND_MS = 240_000

/**
 * Endless: round after round, in order of `from`. The first round comes within ten seconds so that a newcomer sees all three
 * kinds in the first minute; `speed` divides the gaps, not the incidents, whose pace is what the detectors have to see. `starts`
 * counts earlier live runs: another run takes other keys, because incidents on the same ones would join alerts that are still open.
 */
export function* incidentsFrom(company: Company, started_at: number, speed: number, starts = 0): Generator<Incident> {
  const order = shuffled(company)
  for (let round = 0; ; round++) {
    const base = started_at + FIRST_MS + (round * ROUND_MS) / speed
    const gap = round === 0 ? 2_000 : ROUND_MS / 3 / speed
    const chosen = (kind: IncidentKind): Service => order[kind][(starts + round) % order[kind].length] as Service
    yield tokenSpike(company, chosen('token-spike'), Math.round(base), BURN_USD_PER_MINUTE[round % BURN_USD_PER_MINUTE.length] ?? 60)
    yield invalidRequestBurst(company, chosen('invalid-request-burst'), Math.round(base + gap), starts + round)
    yield foreignUse(company, chosen('geography'), Math.round(base + 2 * gap), starts + round)
  }
}

// Three groups that do not overlap, so that one key has one story at a time.
const CANDIDATES: Record<IncidentKind, readonly string[]> = {
  'token-spike': ['code-review-bot', 'relevance-judge', 'customs-forms', 'landing-pages', 'build-summaries'],
  'invalid-request-burst': ['campaign-copy', 'evaluation-runs', 'voice-notes', 'ticket-triage'],
  geography: ['chat-assistant', 'query-rewriter', 'address-parser', 'invoice-reader'],
}

function shuffled(company: Company): Record<IncidentKind, Service[]> {
  const services = (kind: IncidentKind) =>
    company.services
      .filter((service) => CANDIDATES[kind].includes(service.id))
      .map((service) => ({ service, rank: hex(`${company.seed} ${kind} ${service.id}`, 12) }))
      .sort((a, b) => (a.rank < b.rank ? -1 : 1))
      .map(({ service }) => service)
  return { 'token-spike': services('token-spike'), 'invalid-request-burst': services('invalid-request-burst'), geography: services('geography') }
}

// The first is the published 70-dollars-a-minute kind; the later ones are smaller, so that severities differ.
const BURN_USD_PER_MINUTE = [62, 9, 28, 5]
const EXPENSIVE = { request_model: 'gpt-5.5-pro', response_model: 'gpt-5.5-pro-2026-04-23' }
// 9,000 tokens in and 2,600 out at 30 and 180 USD a million: about 0.74 USD a call.
const CALL_USD = 0.74

/** A job that runs away on an expensive model: many calls at once, large answers, from the usual addresses. */
function tokenSpike(company: Company, service: Service, from: number, usd_per_minute: number): Incident {
  const name = `${company.seed} token-spike ${service.id} ${from}`
  const random = seeded(name)
  const count = Math.round((usd_per_minute / CALL_USD) * 2.5)
  const lines = spread(count, from, 150_000, random).map((at, n) => {
    const usual = ordinaryCall(service, at, `${name} ${n}`, random)
    const output_tokens = Math.round(2600 * (0.8 + 0.4 * random()))
    const call: Call = {
      ...usual,
      ...EXPENSIVE,
      input_tokens: Math.round(9000 * (0.8 + 0.4 * random())),
      output_tokens,
      cached_tokens: 0,
      reasoning_tokens: output_tokens >> 1,
      stream: 'no',
      duration_ms: 21_000,
    }
    return timed(call)
  })
  return { kind: 'token-spike', service, from, lines }
}

/** Hosting companies in countries where the made-up company has nobody. */
export const INTRUDERS = ['89.33.8.41', '95.213.200.77', '8.219.4.18', '103.75.117.62', '45.95.168.90', '167.99.30.5'] as const

const PROBED_MODELS = ['gpt-4', 'gpt-4-32k', 'gpt-4.5-preview', 'o1-pro', 'o3-pro', 'gpt-6-sol', 'gpt-5.5-pro', 'gpt-image-2', 'gpt-4-vision-preview', 'text-davinci-003'] as const
const PROBED_OPERATIONS: readonly Operation[] = ['chat', 'chat', 'chat', 'responses', 'embeddings', 'images']
const REFUSALS: readonly CallError[] = [
  { status: 404, type: 'invalid_request_error', code: 'model_not_found', message: 'The model does not exist or you do not have access to it.' },
  { status: 404, type: 'invalid_request_error', code: 'model_not_found', message: 'The model does not exist or you do not have access to it.' },
  { status: 400, type: 'invalid_request_error', code: 'unsupported_value', param: 'max_tokens', message: 'Unsupported value for max_tokens.' },
  { status: 400, type: 'invalid_request_error', code: 'unknown_parameter', param: 'test', message: 'Unknown parameter: test.' },
  { status: 401, type: 'invalid_request_error', code: 'mismatched_organization', message: 'The organization header does not match the key.' },
  { status: 403, type: 'request_forbidden', code: 'request_forbidden', message: 'You are not allowed to use this model.' },
]

/** A leaked key in a checker's hands: a minute of refused probes over models and endpoints, then one that works. */
function invalidRequestBurst(company: Company, service: Service, from: number, round: number): Incident {
  const name = `${company.seed} invalid-request-burst ${service.id} ${from}`
  const random = seeded(name)
  const address = INTRUDERS[(2 * round) % INTRUDERS.length] ?? INTRUDERS[0]
  const attempt = (at: number, id: string): Call => ({
    ...ordinaryCall(service, at, id, random),
    address,
    user_agent: 'python-requests/2.32.5',
    stream: 'no',
    cached_tokens: 0,
    reasoning_tokens: 0,
    duration_ms: Math.round(90 + 200 * random()),
  })
  const count = 64 + Math.floor(random() * 32)
  const probes = spread(count, from, 45_000, random).map((at, n) => {
    const model = pick(PROBED_MODELS, random)
    return timed({ ...attempt(at, `${name} ${n}`), operation: pick(PROBED_OPERATIONS, random), request_model: model, response_model: model, error: pick(REFUSALS, random) })
  })
  const success = [46_500, 48_000, 50_500].map((after, n) =>
    timed({
      ...attempt(from + after, `${name} success ${n}`),
      ...EXPENSIVE,
      operation: 'chat',
      input_tokens: 1200,
      output_tokens: 6200,
      reasoning_tokens: 2048,
      duration_ms: 38_000,
    }),
  )
  return { kind: 'invalid-request-burst', service, from, lines: [...probes, ...success] }
}

/** The key works from a second country and a hosting company while its own service goes on as ever. */
function foreignUse(company: Company, service: Service, from: number, round: number): Incident {
  const name = `${company.seed} geography ${service.id} ${from}`
  const random = seeded(name)
  const address = INTRUDERS[(2 * round + 1) % INTRUDERS.length] ?? INTRUDERS[1]
  const lines = spread(48, from, 180_000, random).map((at, n) =>
    timed({ ...ordinaryCall(service, at, `${name} ${n}`, random), address, user_agent: 'OpenAI/Python 1.52.0', stream: 'no' }),
  )
  return { kind: 'geography', service, from, lines }
}

const timed = (call: Call): TimedLine => ({ at: call.at, file: call.service.file, line: () => logLine(call) })

const seeded = (name: string): Random => seededRandom(Number.parseInt(hex(name, 8), 16))

/** `count` instants in [from, from + span], the first at once, evenly with some jitter, in order. */
const spread = (count: number, from: number, span: number, random: Random): number[] =>
  Array.from({ length: count }, (_, n) => from + (n === 0 ? 0 : Math.round(((n + 0.8 * (random() - 0.5)) * span) / count)))
