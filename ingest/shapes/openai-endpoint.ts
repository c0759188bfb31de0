/** What a URL says about a call: which provider, which endpoint, which deployment. */
import { createRecent } from '../recent.ts'

export type Endpoint =
  /** A call to a model. */
  | { kind: 'call'; operation: string }
  /** A stored or background response, read again or cancelled. */
  | { kind: 'stored-response' }
  /** Creating, polling or answering a run of the Assistants API. */
  | { kind: 'run' }
  /** Files, assistants, threads, lists, models …: no model is called. */
  | { kind: 'management' }

export interface Target {
  host: string | null
  /** Null: the path is none of the API's. */
  endpoint: Endpoint | null
  deployment: string | null
}

const CALLS: Record<string, string> = {
  'chat/completions': 'chat',
  responses: 'responses',
  'responses/compact': 'responses',
  completions: 'text_completion',
  embeddings: 'embeddings',
  'images/generations': 'image_generation',
  'images/edits': 'image_generation',
  'images/variations': 'image_generation',
  'audio/transcriptions': 'transcription',
  'audio/translations': 'translation',
  'audio/speech': 'speech',
}

const RUN = /^threads\/(runs|[^/]+\/runs(\/[^/]+(\/(submit_tool_outputs|cancel))?)?)$/
const STORED_RESPONSE = /^responses\/[^/]+(\/cancel)?$/
const MANAGEMENT =
  /^(responses|chat\/completions|models?|files|assistants|threads|batches|fine[_-]tuning|fine-tunes|vector_stores|uploads|moderations|organization|projects|containers|conversations|evals|realtime|videos|traces|images|audio|deployments|usage|dashboard|engines)(\/|$)/

// Applications call a handful of URLs. Those with a query, a user or an id of their own are read anew each time.
const KNOWN_LENGTH = 128
const known = createRecent<string, Target>(1024)

/** Reads an absolute URL, a URL without a scheme, or a path; the query is dropped unread. */
export function targetOf(url: string): Target {
  const before = known.get(url)
  if (before !== undefined) return before
  const target = read(url)
  if (url.length <= KNOWN_LENGTH && target.endpoint?.kind === 'call' && !/[?#@]/.test(url)) known.set(url, target)
  return target
}

function read(url: string): Target {
  const scheme = url.indexOf('://')
  let rest = scheme === -1 ? url : url.slice(scheme + 3)
  const query = rest.search(/[?#]/)
  if (query !== -1) rest = rest.slice(0, query)
  const slash = rest.indexOf('/')
  const authority = scheme === -1 && !/^[\w-]+(\.[\w-]+)+(:\d+)?\//.test(rest) ? '' : slash === -1 ? rest : rest.slice(0, slash)
  const host =
    authority === ''
      ? null
      : authority
          .slice(authority.lastIndexOf('@') + 1)
          .replace(/:\d+$/, '')
          .toLowerCase()
  const path = authority === '' ? rest : slash === -1 ? '' : rest.slice(slash)
  const found = endpointOf(path)
  // The same hosts serve vision, speech and language, whose refusals are not those of a model.
  if (found.endpoint === null && host !== null && SHARED_HOST.test(host) && !/^\/(openai|models)\//.test(path)) return { host, endpoint: { kind: 'management' }, deployment: null }
  return { host, ...found }
}

function endpointOf(path: string): { endpoint: Endpoint | null; deployment: string | null } {
  const trimmed = path.endsWith('/') ? path.slice(0, -1) : path
  const deployment = /\/deployments\/([^/]+)\/(.+)$/.exec(trimmed)
  const known = deployment?.[2] ?? after(trimmed, '/v1/') ?? after(trimmed, '/openai/') ?? after(trimmed, '/models/')
  const name = deployment?.[1] === undefined ? null : decoded(deployment[1])
  if (known === undefined || known === null) return { endpoint: null, deployment: name }
  const operation = Object.hasOwn(CALLS, known) ? CALLS[known] : undefined
  if (operation !== undefined) return { endpoint: { kind: 'call', operation }, deployment: name }
  if (RUN.test(known)) return { endpoint: { kind: 'run' }, deployment: name }
  if (STORED_RESPONSE.test(known) && known !== 'responses/input_tokens') return { endpoint: { kind: 'stored-response' }, deployment: name }
  return { endpoint: MANAGEMENT.test(known) ? { kind: 'management' } : null, deployment: name }
}

function after(path: string, marker: string): string | null {
  const at = path.lastIndexOf(marker)
  return at === -1 ? null : path.slice(at + marker.length)
}

function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment)
  } catch {
    return segment
  }
}

const SHARED_HOST = /\.cognitiveservices\.azure\.(com|us)$/
const AZURE_HOST = /\.(openai\.azure\.(com|us|cn)|cognitiveservices\.azure\.(com|us)|services\.ai\.azure\.com)$/
const OPENAI_HOST = /(^|\.)api\.openai\.com$/

/** Null: another host; it may be a proxy or another vendor with the same API, so only the config may say what it is. */
export function providerOfHost(host: string): 'openai' | 'azure.ai.openai' | null {
  if (OPENAI_HOST.test(host)) return 'openai'
  return AZURE_HOST.test(host) ? 'azure.ai.openai' : null
}
