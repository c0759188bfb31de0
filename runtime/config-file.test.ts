import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { parseConfig } from './config-file.ts'
import { UsageError } from './errors.ts'
import { secretRef } from './secrets.ts'

const schema = z.strictObject({
  data_dir: z.string().default('.tokenwatch'),
  bus: z
    .discriminatedUnion('kind', [z.strictObject({ kind: z.literal('embedded') }), z.strictObject({ kind: z.literal('kafka'), brokers: z.array(z.string()).min(1) })])
    .default({ kind: 'embedded' }),
  log: z.strictObject({ level: z.enum(['debug', 'info']).default('info') }).prefault({}),
})

const problems = (text: string): readonly string[] => {
  try {
    parseConfig(schema, text, 'tokenwatch.yaml')
    return []
  } catch (error) {
    if (error instanceof UsageError) return error.problems
    throw error
  }
}

describe('parseConfig', () => {
  it('gives the defaults for an empty file', () => {
    expect(parseConfig(schema, '', 'x')).toEqual({ data_dir: '.tokenwatch', bus: { kind: 'embedded' }, log: { level: 'info' } })
  })

  it('lists every problem at once, with line, path and a suggestion', () => {
    const found = problems('data_dri: x\nlog:\n  levle: debug\nbus:\n  kind: kafka\n')
    expect(found).toHaveLength(3)
    expect(found.join('\n')).toContain('tokenwatch.yaml:1: data_dri: unknown key; did you mean "data_dir"?')
    expect(found.join('\n')).toContain('tokenwatch.yaml:3: log.levle: unknown key; did you mean "level"?')
    expect(found.join('\n')).toContain('bus.brokers')
  })

  it('names the allowed values', () => {
    expect(problems('log: {level: debgu}')[0]).toContain('expected one of debug, info')
  })

  it('says in words of the file what is meant, what is missing, and that a secret never stands in it', () => {
    const meant = z.strictObject({
      to: z.array(z.string()).describe('recipients'),
      from: z.string(),
      port: z.int().optional(),
      follow: z.boolean(),
      secret: secretRef.describe('signing'),
    })
    let said: readonly string[] = []
    try {
      parseConfig(meant, 'to: soc\nform: x\nfollow: yes\nsecret: whsec_hidden\n', 'f')
    } catch (error) {
      said = (error as UsageError).problems
    }
    expect(said).toEqual([
      'f:1: to: expected a list (recipients), not a text',
      'f: from: is missing; expected a text',
      'f:3: follow: expected true or false, not a text',
      'f:4: secret: expected {env: NAME} or {file: PATH} (signing), not a text',
      'f:2: form: unknown key; did you mean "from"?',
    ])
  })

  it('says where YAML itself is broken', () => {
    expect(problems('a: [1\nb: 2')[0]).toMatch(/tokenwatch\.yaml:\d+: /)
  })
})
