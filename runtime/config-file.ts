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
  if (issue.code === 'invalid_type') {
    const meant = nodesAt(schema, issue.path)
      .map((node) => node['description'])
      .find((text) => typeof text === 'string')
    const secret = keysAt(schema, issue.path).join() === 'env,file'
    const wanted = `${secret ? '{env: NAME} or {file: PATH}' : (WORDS[issue.expected] ?? issue.expected)}${meant === undefined ? '' : ` (${meant})`}`
    return [{ text: issue.input === undefined ? `${where}is missing; expected ${wanted}` : `${where}expected ${wanted}, not ${kindOf(issue.input)}` }]
  }
  return [{ text: `${where}${issue.message}` }]
}

/** What a person writes into the file for a type of the schema. */
const WORDS: Record<string, string> = {
  array: 'a list',
  object: 'keys with values',
  record: 'keys with values',
  string: 'a text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
}

const kindOf = (input: unknown): string => (input === null ? 'nothing' : Array.isArray(input) ? 'a list' : (WORDS[typeof input] ?? typeof input))

function suggest(word: string, known: readonly string[]): string {
  const best = known
    .map((candidate) => ({ candidate, edits: distance(word.toLowerCase(), candidate.toLowerCase()) }))
    .toSorted((a, b) => a.edits - b.edits || strange(word, a.candidate) - strange(word, b.candidate))[0]
  if (best && best.edits <= Math.max(2, Math.floor(word.length / 3))) return `; did you mean "${best.candidate}"?`
  return ''
}

/** Letters that only one of the two has: `form` is rather a mistyped `from` than `port`. */
const strange = (word: string, candidate: string): number => word.split('').filter((letter) => !candidate.includes(letter)).length

/** Property names that the JSON Schema allows at a path. */
const keysAt = (schema: unknown, path: readonly PropertyKey[]): string[] => [
  ...new Set(nodesAt(schema, path).flatMap((node) => Object.keys((node['properties'] as Record<string, unknown> | undefined) ?? {}))),
]

/** What the JSON Schema says of a path; unions give all branches. */
function nodesAt(schema: unknown, path: readonly PropertyKey[]): Record<string, unknown>[] {
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
  return nodes
}
