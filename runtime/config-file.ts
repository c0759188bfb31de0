/** Reads a YAML config and checks it whole: every problem at once, each with its path in the file and a suggestion. */
import { readFileSync } from 'node:fs'
import { distance } from 'fastest-levenshtein'
import { type Document, isMap, isNode, isScalar, isSeq, LineCounter, parseDocument } from 'yaml'
import { z } from 'zod'
import { messageOf, UsageError } from './errors.ts'

/** Throws UsageError with one problem a line. No file is no problem: `text` undefined gives the defaults. */
export function readConfigFile(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw new UsageError(`the config ${file} cannot be read: ${messageOf(error)}`)
  }
}

export function parseConfig<S extends z.ZodType>(schema: S, text: string, file: string): z.output<S> {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true })
  if (document.errors.length > 0) {
    throw new UsageError(document.errors.map((error) => `${file}:${lines.linePos(error.pos[0]).line}: ${error.message}`))
  }
  // The input is used for suggestions only and never printed: it may hold a secret that was put in the wrong place.
  const result = schema.safeParse(document.toJS() ?? {}, { reportInput: true })
  if (result.success) return result.data
  const jsonSchema = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' })
  const at = (issue: Issue, key?: string) => {
    const offset = keyOffset(document, key === undefined ? issue.path : [...issue.path, key])
    return offset === undefined ? file : `${file}:${lines.linePos(offset).line}`
  }
  throw new UsageError(flatten(result.error.issues).flatMap((issue) => describe(issue, jsonSchema).map(({ key, text }) => `${at(issue, key)}: ${text}`)))
}

type Issue = z.core.$ZodIssue

/** Where the deepest part of the path that exists in the file begins: the key of a map entry, the item of a list. */
function keyOffset(document: Document.Parsed, path: readonly PropertyKey[]): number | undefined {
  let node: unknown = document.contents
  let offset: number | undefined
  for (const step of path) {
    if (isMap(node)) {
      const pair = node.items.find((item) => isScalar(item.key) && String(item.key.value) === String(step))
      if (!pair) break
      offset = isScalar(pair.key) ? pair.key.range?.[0] : offset
      node = pair.value
    } else if (isSeq(node) && isNode(node.items[Number(step)])) {
      node = node.items[Number(step)]
      offset = isNode(node) ? node.range?.[0] : offset
    } else break
  }
  return offset
}

/** A union that fails shows the problems of the branch that came furthest, not "invalid input". */
function flatten(issues: readonly Issue[], prefix: readonly PropertyKey[] = []): Issue[] {
  return issues.flatMap((issue) => {
    const path = [...prefix, ...issue.path]
    if (issue.code !== 'invalid_union' || issue.errors.length === 0) return [{ ...issue, path }]
    const branches = issue.errors.map((branch) => flatten(branch, path))
    const depth = (branch: Issue[]) => Math.max(...branch.map((inner) => inner.path.length)) * 100 - branch.length
    return branches.toSorted((a, b) => depth(b) - depth(a))[0] ?? []
  })
}

function describe(issue: Issue, schema: unknown): { key?: string; text: string }[] {
  const where = issue.path.length === 0 ? '' : `${issue.path.map(String).join('.')}: `
  if (issue.code === 'unrecognized_keys') {
    const known = keysAt(schema, issue.path)
    return issue.keys.map((key) => ({ key, text: `${[...issue.path.map(String), key].join('.')}: unknown key${suggest(key, known) || `; known keys: ${known.join(', ')}`}` }))
  }
  if (issue.code === 'invalid_value') {
    const values = issue.values.map(String)
    return [{ text: `${where}expected one of ${values.join(', ')}${typeof issue.input === 'string' ? suggest(issue.input, values) : ''}` }]
  }
  if (issue.code === 'invalid_union' && 'options' in issue && Array.isArray(issue.options)) {
    const last = String(issue.path.at(-1))
    const given = typeof issue.input === 'object' && issue.input !== null ? (issue.input as Record<string, unknown>)[last] : undefined
    const options = issue.options.map(String)
    return [{ text: `${where}expected one of ${options.join(', ')}${typeof given === 'string' ? suggest(given, options) : ''}` }]
  }
  return [{ text: `${where}${issue.message}` }]
}

function suggest(word: string, known: readonly string[]): string {
  const best = known.map((candidate) => ({ candidate, edits: distance(word.toLowerCase(), candidate.toLowerCase()) })).toSorted((a, b) => a.edits - b.edits)[0]
  if (best && best.edits <= Math.max(2, Math.floor(word.length / 3))) return `; did you mean "${best.candidate}"?`
  return ''
}

/** Property names that the JSON Schema allows at a path; unions give all branches. */
function keysAt(schema: unknown, path: readonly PropertyKey[]): string[] {
  const root = schema
  const resolve = (node: unknown): Record<string, unknown>[] => {
    if (typeof node !== 'object' || node === null) return []
    const record = node as Record<string, unknown>
    if (typeof record['$ref'] === 'string') {
      let target: unknown = root
      for (const part of record['$ref'].split('/').slice(1)) target = (target as Record<string, unknown> | undefined)?.[part]
      return resolve(target)
    }
    const branches = [record['anyOf'], record['oneOf'], record['allOf']].flatMap((list) => (Array.isArray(list) ? list : []))
    return [record, ...branches.flatMap(resolve)]
  }
  let nodes = resolve(schema)
  for (const step of path) {
    nodes = nodes.flatMap((node) => {
      const properties = node['properties'] as Record<string, unknown> | undefined
      return resolve(typeof step === 'number' ? node['items'] : (properties?.[String(step)] ?? node['additionalProperties']))
    })
  }
  return [...new Set(nodes.flatMap((node) => Object.keys((node['properties'] as Record<string, unknown> | undefined) ?? {})))]
}
