/**
 * A quick yes for records that are as they should be. Reading a usage event with zod costs about 7 µs of the 30 µs that the whole
 * pipeline has for it; nearly all records are ours and right, so a plain check made from the same schema goes first.
 * It never says no: what it does not know or does not accept is zod's to judge, with zod's messages.
 */
import type { z } from 'zod'

/** True only if zod would accept the value and give it back unchanged. */
export type Shape = (value: unknown) => boolean

/** Undefined for a schema that uses something else than plain objects, scalars, lists and enums. */
export function shapeOf(schema: z.ZodType): Shape | undefined {
  const def = defOf(schema)
  const checks = (def.checks ?? []).map((check) => ruleOf(check._zod.def))
  if (checks.includes(undefined)) return undefined
  const base = baseOf(def)
  if (base === undefined || checks.length === 0) return base
  const rules = checks as Rule[]
  return rules.length === 1 ? both(base, rules[0] ?? (() => false)) : (value) => base(value) && rules.every((rule) => rule(value))
}

const defOf = (schema: z.ZodType): Def => (schema as unknown as { _zod: { def: Def } })._zod.def

/** The part of zod's definitions that is understood here; a test compares the outcome with zod's for every topic. */
interface Def {
  type: string
  checks?: { _zod: { def: CheckDef } }[]
  format?: string
  check?: string
  pattern?: RegExp
  shape?: Record<string, z.ZodType>
  catchall?: unknown
  innerType?: z.ZodType
  element?: z.ZodType
  entries?: Record<string, string | number>
  coerce?: boolean
}
interface CheckDef {
  check: string
  maximum?: number
  minimum?: number
  length?: number
  value?: number
  inclusive?: boolean
  format?: string
  pattern?: RegExp
}
type Rule = (value: unknown) => boolean

const both =
  (one: Shape, two: Rule): Shape =>
  (value) =>
    one(value) && two(value)

function baseOf(def: Def): Shape | undefined {
  if (def.coerce === true) return undefined
  switch (def.type) {
    case 'string':
      return def.check === undefined ? (value) => typeof value === 'string' : undefined
    case 'boolean':
      return (value) => typeof value === 'boolean'
    case 'number':
      if (def.check === undefined) return (value) => typeof value === 'number' && Number.isFinite(value)
      return def.format === 'safeint' ? (value) => Number.isSafeInteger(value) : undefined
    case 'enum': {
      const allowed = new Set<unknown>(Object.values(def.entries ?? {}))
      return (value) => allowed.has(value)
    }
    case 'nullable': {
      const inner = def.innerType && shapeOf(def.innerType)
      return inner && ((value) => value === null || inner(value))
    }
    case 'optional': {
      const inner = def.innerType && shapeOf(def.innerType)
      return inner && ((value) => value === undefined || inner(value))
    }
    case 'array': {
      const element = def.element && shapeOf(def.element)
      return element && ((value) => Array.isArray(value) && value.every(element))
    }
    case 'object':
      return def.catchall === undefined ? objectShape(def.shape ?? {}) : undefined
    default:
      return undefined
  }
}

function objectShape(fields: Record<string, z.ZodType>): Shape | undefined {
  const names = Object.keys(fields)
  const shapes = Object.values(fields).map(shapeOf)
  if (shapes.includes(undefined)) return undefined
  const known = shapes as Shape[]
  const places = new Map(names.map((name, at) => [name, at]))
  const needed = Object.values(fields).map((field) => defOf(field).type !== 'optional')
  const count = needed.filter(Boolean).length
  return (value) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
    const record = value as Record<string, unknown>
    let missing = count
    let at = 0
    // Walking the object costs half of asking it for each name; mostly its fields come in the order of the schema.
    for (const name in record) {
      if (name !== names[at]) at = places.get(name) ?? -1
      // A field that the schema does not know is zod's to strip.
      if (known[at]?.(record[name]) !== true) return false
      if (needed[at] === true) missing--
      at++
    }
    return missing === 0
  }
}

function ruleOf(def: CheckDef): Rule | undefined {
  const { maximum = 0, minimum = 0, length = 0, value: limit = 0, inclusive, pattern } = def
  const size = (value: unknown) => (value as { length: number }).length
  switch (def.check) {
    case 'max_length':
      return (value) => size(value) <= maximum
    case 'min_length':
      return (value) => size(value) >= minimum
    case 'length_equals':
      return (value) => size(value) === length
    case 'greater_than':
      return inclusive === true ? (value) => (value as number) >= limit : (value) => (value as number) > limit
    case 'less_than':
      return inclusive === true ? (value) => (value as number) <= limit : (value) => (value as number) < limit
    case 'string_format':
      return def.format === 'regex' && pattern !== undefined && pattern.flags === '' ? (value) => pattern.test(value as string) : undefined
    default:
      return undefined
  }
}
