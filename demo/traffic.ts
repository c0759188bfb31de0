/**
 * Ordinary traffic. A pure function of the seed and the hour: each service and hour of time is a cell of its own, so history
 * and live traffic are one stream, wherever it is cut, and the rates of a live demo are those that its history taught.
 */
import { type Random, seededRandom } from '../runtime/random.ts'
import { secretLines } from './cloudtrail.ts'
import type { Company, Cycle, Service } from './company.ts'
import { type Call, type CallError, logLine } from './lines.ts'
import { hex } from './made-up.ts'
import { pick, poisson, type TimedLine, tokensAround } from './sampling.ts'

const HOUR_MS = 3_600_000

/** Lines with from <= at < to, hour by hour, in order of time. */
export function* trafficBetween(company: Company, from: number, to: number): Generator<TimedLine> {
  for (let hour = Math.floor(from / HOUR_MS); hour * HOUR_MS < to; hour++) {
    const lines = [...company.services.flatMap((service) => serviceHour(company.seed, service, hour)), ...secretLines(company, hour)]
    lines.sort((a, b) => a.at - b.at)
    for (const line of lines) if (line.at >= from && line.at < to) yield line
  }
}

/** A call as the service makes it on an ordinary day; incidents start from it and change what is wrong. */
export function ordinaryCall(service: Service, at: number, id: string, random: Random): Call {
  const model = pickModel(service, random())
  const input_tokens = tokensAround(service.tokens[0], random)
  const output_tokens = service.tokens[1] === 0 ? 0 : tokensAround(service.tokens[1], random)
  const reasons = /^(o\d|gpt-5)/.test(model.response)
  const streamed = random() < service.streams[0]
  const unmetered = random() < service.streams[1]
  return {
    service,
    id,
    at,
    operation: service.operation,
    request_model: model.request,
    response_model: model.response,
    input_tokens,
    output_tokens,
    cached_tokens: input_tokens > 2048 && random() < 0.35 ? Math.floor((input_tokens * (0.3 + 0.4 * random())) / 128) * 128 : 0,
    reasoning_tokens: reasons ? Math.floor((output_tokens * (0.3 + 0.4 * random())) / 64) * 64 : 0,
    stream: streamed ? (unmetered ? 'no-usage' : 'with-usage') : 'no',
    address: pick(service.addresses, random),
    replica: pick(service.replicas, random),
    user_agent: service.user_agent,
    duration_ms: Math.round(220 + output_tokens * (6 + 8 * random()) + input_tokens * 0.05),
    error: null,
  }
}

function serviceHour(seed: number, service: Service, hour: number): TimedLine[] {
  const cell = `${seed} ${service.id} ${hour}`
  const random = seededRandom(Number.parseInt(hex(cell, 8), 16))
  const count = poisson((service.requests_per_day / 24) * activity(service.cycle, hour), random)
  return Array.from({ length: count }, (_, n) => {
    const at = hour * HOUR_MS + Math.floor(random() * HOUR_MS)
    const call = ordinaryCall(service, at, `${cell} ${n}`, random)
    // About 1.5 % of calls fail, one at a time and for one reason: what an ordinary month looks like.
    if (random() < 0.015) call.error = ordinaryError(service, random)
    return { at, file: service.file, line: () => logLine(call) }
  })
}

function ordinaryError(service: Service, random: Random): CallError {
  const roll = random()
  if (roll < 0.55) return { status: 429, type: 'tokens', code: 'rate_limit_exceeded', message: 'Rate limit reached for tokens per minute. Please try again in 1.2s.' }
  if (roll < 0.8) return { status: 503, type: 'server_error', code: null, message: 'The server is overloaded or not ready yet.' }
  if (roll < 0.9 && service.provider === 'azure')
    return { status: 400, type: null, code: 'content_filter', message: 'The response was filtered due to the prompt triggering the content management policy.' }
  return { status: 400, type: 'invalid_request_error', code: 'context_length_exceeded', param: 'messages', message: "This model's maximum context length was exceeded." }
}

/** Share of the daily mean at this hour (UTC); each cycle averages to about 1 over a week. Day and night differ, weekends too. */
function activity(cycle: Cycle, hour: number): number {
  const ofDay = hour % 24
  const weekend = (Math.floor(hour / 24) + 4) % 7 === 0 || (Math.floor(hour / 24) + 4) % 7 === 6 // 1970-01-01 was a Thursday
  const wave = Math.cos(((ofDay - (cycle === 'consumer' ? 17 : 13)) / 24) * 2 * Math.PI)
  if (cycle === 'office') return (1 + 0.75 * wave) * (weekend ? 0.5 : 1.2)
  if (cycle === 'consumer') return (1 + 0.55 * wave) * (weekend ? 1.1 : 0.96)
  return 1 + 0.1 * wave
}

function pickModel(service: Service, roll: number): { request: string; response: string } {
  let left = roll
  for (const model of service.models) if ((left -= model.share) < 0) return model
  return service.models[0] ?? { request: '', response: '' }
}
