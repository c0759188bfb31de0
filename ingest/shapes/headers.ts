/** The named HTTP headers of a logged exchange, whatever their case; every other header is never looked at. */
import type { Json } from './json.ts'
import { asLabel } from './json.ts'

const WANTED = [
  'date',
  'x-request-id',
  'apim-request-id',
  'openai-organization',
  'openai-project',
  'openai-processing-ms',
  'openai-version',
  'openai-model',
  'x-ms-region',
  'x-ms-deployment-name',
  'authorization',
  'api-key',
  'user-agent',
  'x-forwarded-for',
  'x-real-ip',
  'x-client-ip',
] as const
export type HeaderName = (typeof WANTED)[number]
export type Headers = Partial<Record<HeaderName, string>>

const wanted = new Map<string, HeaderName>()
for (const name of WANTED) wanted.set(name, name)
const MAX_HEADERS = 100

/** Values may be texts, numbers or lists of texts (the first counts). The first object that has a header wins. */
export function readHeaders(objects: readonly Json[]): Headers {
  const headers: Headers = {}
  for (const object of objects) {
    let seen = 0
    for (const key in object) {
      seen += 1
      if (seen > MAX_HEADERS) break
      const name = wanted.get(key) ?? (key.length <= 24 ? wanted.get(key.toLowerCase()) : undefined)
      if (name === undefined || headers[name] !== undefined) continue
      const value = object[key]
      const text = asLabel(Array.isArray(value) ? value[0] : value, 1024)
      if (text !== null) headers[name] = text
    }
  }
  return headers
}
