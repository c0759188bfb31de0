/** What an answer of the Logs query API means that is no table. Codes from Microsoft's page on the errors of the API. */
import { PermanentError, TransientError } from '../../../runtime/errors.ts'
import { plainText } from '../../../runtime/text.ts'
import { asLabel, asObject, type Json, objectAt } from '../../shapes/json.ts'
import type { Answer } from './api.ts'

export interface HttpFailure {
  status: number
  /** Of the Retry-After header: seconds or an HTTP date; null without. */
  retry_after: string | null
  body: string | null
}

/** The caller asks too fast: everybody who shares its identity must wait. */
export class ThrottledError extends TransientError {}

/** The service will not run this query: `detail` is what it says of it. */
export class QueryRefused extends PermanentError {
  readonly detail: string
  constructor(message: string, detail: string) {
    super(message)
    this.detail = detail
  }
}

/** A window that failed is an Answer; everything else is thrown. `now`: epoch ms, for a Retry-After that is a date. */
export function answerOfFailure(failure: HttpFailure, now: number): Answer {
  const { status } = failure
  const said = saidOf(failure.body)
  if (status === 504 || status === 408) return { kind: 'partial', why: 'timeout', message: said.text || 'the query ran into the time-out' }
  const retry_after_ms = waitOf(failure.retry_after, now)
  const options = retry_after_ms === undefined ? {} : { retry_after_ms }
  // Before the size: a 429, too, speaks of a limit that was exceeded, and smaller windows would only ask more.
  if (status === 429) throw new ThrottledError(`the query service says 429 (too many requests)${behind(said.text)}`, options)
  if (status === 413 || TOO_LARGE.test(said.text)) return { kind: 'partial', why: 'too-large', message: said.text }
  if (status >= 500) throw new TransientError(`the query service says ${status}${behind(said.text)}`, options)
  throw refusal(status, said)
}

/** The answer could not be read as what the API documents: a login page of a proxy, a cut body. */
export const nonsense = (detail: string): PermanentError =>
  new PermanentError(`the query service answered nonsense (${plainText(detail, 120)}): check \`endpoint\` and \`cloud\`, and whether a proxy stands in between`)

const TOO_LARGE = /RESULT_SET_TOO_LARGE|ResponseSizeError|ResponsePayloadTooLarge|exceed(?:s|ed)? the (?:set |allowed )?limit/i
const PLAN = /\b(?:basic|auxiliary)\b.*\b(?:plan|table|tier|logs?)\b|\b(?:plan|table|tier|logs?)\b.*\b(?:basic|auxiliary)\b/i
const ROLE =
  '"Log Analytics Data Reader" or "Log Analytics Reader" on the workspace (least: Microsoft.OperationalInsights/workspaces/query/<table>/read, see docs/azure-monitor.md)'

function refusal(status: number, { code, text }: Said): PermanentError {
  if (/^Invalid(?:Authentication)?Token/.test(code) || status === 401)
    return new PermanentError(`the service does not accept the token (${code || status})${behind(text)}: check \`credential\`, and that \`cloud\` is that of the workspace`)
  if (status === 403) return new PermanentError(`no permission to query (${code || status}): give the identity the role ${ROLE}; a new assignment may take up to an hour`)
  if (status === 404)
    return new PermanentError(
      `there is no such workspace (${code || status}): \`id\` is the Workspace ID of its overview page, a GUID, and \`cloud\` must be that of the workspace`,
    )
  if (PLAN.test(text) || text.includes('UnsupportedApiQueryValidationError'))
    return new QueryRefused(
      `the table is on the Basic or Auxiliary plan, which this API cannot read${behind(text)}: set the table's plan to Analytics, or send the logs to an Event Hub or a file and read them there`,
      text,
    )
  if (/failed to resolve (?:table|entity)|could not be resolved|unknown table/i.test(text))
    return new QueryRefused(
      `the workspace does not have the table or a column of the query${behind(text)}: check the name, and that a diagnostic setting sends the logs there`,
      text,
    )
  return new QueryRefused(`the service refuses the query (${status} ${code})${behind(text)}: check \`kql\``, text)
}

interface Said {
  code: string
  /** All messages, outer to inner. */
  text: string
}

function saidOf(body: string | null): Said {
  const parsed = body === null ? null : objectOf(body)
  let error: Json | null = parsed === null ? null : objectAt(parsed, 'error')
  const code = error === null ? '' : (asLabel(error['code'], 80) ?? '')
  const texts: string[] = []
  for (let depth = 0; error !== null && depth < 4; depth++) {
    for (const value of [error['code'], error['message']]) {
      const text = asLabel(value, 300)
      if (text !== null) texts.push(text)
    }
    error = objectAt(error, 'innererror')
  }
  return { code, text: plainText(texts.join(': '), 500) }
}

function objectOf(body: string): Json | null {
  try {
    return asObject(JSON.parse(body))
  } catch {
    return null
  }
}

function waitOf(value: string | null, now: number): number | undefined {
  if (value === null || value.trim() === '') return undefined
  const seconds = Number(value)
  const ms = Number.isFinite(seconds) ? seconds * 1000 : Date.parse(value) - now
  // A service that says "tomorrow" is asked again in five minutes: it may be wrong, and a day without logs is worse.
  return Number.isNaN(ms) ? undefined : Math.max(0, Math.min(ms, 300_000))
}

const behind = (text: string): string => (text === '' ? '' : `: ${text}`)
