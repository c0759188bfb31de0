/** Finds the response, error or event stream of a model call in a log line, whatever the line calls it, at a nesting of three or less. */
import { looksLikeEventStream, readEventStream } from '../../shapes/event-stream.ts'
import type { Json } from '../../shapes/json.ts'
import { asObject, MAX_DEPTH, MAX_KEYS, MAX_NODES, objectAt, parseObject } from '../../shapes/json.ts'
import { isOpenAiCode } from '../../shapes/openai-error.ts'

export type BodyKind = 'chat' | 'responses' | 'text_completion' | 'embeddings' | 'image_generation' | 'transcription' | 'run' | 'error' | 'management'

export interface Exchange {
  /** Null: no body of a known shape; the URL alone may still say that a model was called. */
  kind: BodyKind | null
  body: Json | null
  /** The body was the text of an event stream. */
  stream: boolean
  /** An error body that only OpenAI and Azure write; a weak one needs a URL or headers beside it. */
  strong: boolean
  /** The objects around the body, nearest first, the carrier last: where status, headers, URL and time are looked for. */
  scopes: Json[]
}

/**
 * Texts are opened only under names that hold responses, and what a user wrote (messages, prompts, inputs, the request) is never
 * searched: a prompt that contains a forged response must not become usage.
 */
const BODY_TEXTS = new Set([
  'response',
  'response_body',
  'responseBody',
  'backendResponseBody',
  'body',
  'message',
  'payload',
  'result',
  'output',
  'completion',
  'data',
  'raw',
  'res',
  'http_response',
  'log',
  'msg',
  'event',
  'Message',
  'LogMessage',
])
const NEVER_SEARCHED = new Set([
  'request',
  'req',
  'request_body',
  'requestBody',
  'messages',
  'choices',
  'prompt',
  'input',
  'content',
  'text',
  'tools',
  'headers',
  'request_headers',
  'response_headers',
])

interface Node {
  value: Json
  parent: Node | null
  depth: number
}

export function findExchange(payload: Json, carrier: Json | null): Exchange {
  const root: Node = { value: payload, parent: null, depth: 0 }
  const queue: Node[] = [root]
  let weakError: Node | null = null
  for (let next = 0; next < queue.length && next < MAX_NODES; next += 1) {
    const node = queue[next]
    if (node === undefined) break
    const kind = kindOf(node.value)
    if (kind !== null) return exchangeAt(node, kind, false, true, carrier)
    const error = errorStrength(node.value)
    if (error === 'strong') return exchangeAt(node, 'error', false, true, carrier)
    if (error === 'weak') weakError ??= node
    if (node.depth < MAX_DEPTH) {
      const stream = addChildren(queue, node)
      if (stream !== null) return exchangeAt(stream, streamKind(stream.value), true, true, carrier)
    }
  }
  if (weakError !== null) return exchangeAt(weakError, 'error', false, false, carrier)
  return { kind: null, body: null, stream: false, strong: false, scopes: carrier === null ? [payload] : [payload, carrier] }
}

/** Adds the objects below a node; gives the node of an event stream as soon as one is found. */
function addChildren(queue: Node[], node: Node): Node | null {
  let seen = 0
  for (const key in node.value) {
    seen += 1
    if (seen > MAX_KEYS) return null
    const value = node.value[key]
    if (typeof value === 'object') {
      if (value !== null && !Array.isArray(value) && !NEVER_SEARCHED.has(key)) queue.push({ value: value as Json, parent: node, depth: node.depth + 1 })
    } else if (typeof value === 'string' && value.length > 1 && BODY_TEXTS.has(key)) {
      if (value.startsWith('{')) {
        const parsed = parseObject(value)
        if (parsed !== null) queue.push({ value: parsed, parent: node, depth: node.depth + 1 })
      } else if (looksLikeEventStream(value)) {
        const body = readEventStream(value)
        if (body !== null) return { value: body, parent: node, depth: node.depth + 1 }
      }
    }
  }
  return null
}

function exchangeAt(node: Node, kind: BodyKind | null, stream: boolean, strong: boolean, carrier: Json | null): Exchange {
  const scopes: Json[] = []
  // A flat record (Powertools, an SDK's error) is body and surroundings in one.
  if (node.parent === null || kind === 'error') scopes.push(node.value)
  for (let at = node.parent; at !== null; at = at.parent) scopes.push(at.value)
  if (carrier !== null) scopes.push(carrier)
  return { kind, body: node.value, stream, strong, scopes }
}

const KINDS: Record<string, BodyKind> = {
  'chat.completion': 'chat',
  'chat.completion.chunk': 'chat',
  response: 'responses',
  'response.compaction': 'responses',
  text_completion: 'text_completion',
  'thread.run': 'run',
}
const MANAGEMENT_OBJECTS =
  /^(thread|thread\..+|assistant|assistant\..+|file|file\..+|model|model\..+|batch|upload|upload\..+|vector_store|vector_store\..+|fine_tuning\..+|response\..+|chat\.completion\.deleted|organization\..+|page|embedding)$/

function kindOf(node: Json): BodyKind | null {
  const object = node['object']
  if (typeof object === 'string' && object !== '') {
    const kind = Object.hasOwn(KINDS, object) ? KINDS[object] : undefined
    if (kind !== undefined) return kind
    if (object === 'list') return listKind(node)
    if (MANAGEMENT_OBJECTS.test(object) && (typeof node['id'] === 'string' || object === 'page')) return 'management'
  }
  return kindOfUsage(node)
}

function listKind(node: Json): BodyKind | null {
  if (!Array.isArray(node['data'])) return null
  const first = asObject(node['data'][0])
  if (first?.['object'] === 'embedding' || (first === null && objectAt(node, 'usage') !== null)) return 'embeddings'
  return first === null || typeof first['object'] === 'string' ? 'management' : null
}

/** Bodies without `object`: images, transcriptions, and lines on which an application wrote model and usage only. */
function kindOfUsage(node: Json): BodyKind | null {
  const usage = objectAt(node, 'usage')
  if (Array.isArray(node['data']) && typeof node['created'] === 'number') {
    const first = asObject(node['data'][0])
    if (first !== null && (typeof first['b64_json'] === 'string' || typeof first['url'] === 'string')) return 'image_generation'
    // Who logs images seldom logs their bytes; the usage stays.
    if (usage !== null && Object.hasOwn(usage, 'input_tokens')) return 'image_generation'
  }
  // Whisper's verbose answer has no usage where the API is older than 2025; it is priced by its duration.
  if (typeof node['text'] === 'string' && (node['task'] === 'transcribe' || node['task'] === 'translate') && Object.hasOwn(node, 'duration')) return 'transcription'
  if (usage === null) return null
  if (typeof node['text'] === 'string' && (usage['type'] === 'duration' || usage['type'] === 'tokens')) return 'transcription'
  if (Object.hasOwn(usage, 'prompt_tokens')) {
    if (Array.isArray(node['choices'])) return 'chat'
    if (typeof node['model'] !== 'string') return null
    return Object.hasOwn(usage, 'completion_tokens') ? 'chat' : 'embeddings'
  }
  return Object.hasOwn(usage, 'input_tokens') && typeof node['model'] === 'string' ? 'responses' : null
}

const ERROR_KEYS = new Set(['message', 'type', 'param', 'code', 'status', 'innererror', 'inner_error'])

function errorStrength(node: Json): 'strong' | 'weak' | null {
  const error = objectAt(node, 'error')
  if (error === null || typeof error['message'] !== 'string') return null
  const isWhole = Object.hasOwn(error, 'type') && Object.hasOwn(error, 'code') && Object.hasOwn(error, 'param')
  // Payment and Microsoft APIs write the same four names and more beside them.
  if (isWhole && Object.keys(error).every((key) => ERROR_KEYS.has(key))) return 'strong'
  if (isOpenAiCode(error['code']) || objectAt(error, 'innererror')?.['code'] === 'ResponsibleAIPolicyViolation') return 'strong'
  return Object.hasOwn(error, 'code') || Object.hasOwn(error, 'type') ? 'weak' : null
}

function streamKind(body: Json): BodyKind | null {
  const kind = kindOf(body)
  if (kind !== null && kind !== 'management') return kind
  if (objectAt(body, 'error') !== null) return 'error'
  return kind
}
