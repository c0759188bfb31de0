import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { formatsConfig, geoConfig, joinConfig, privacyConfig, sourcesConfig } from './config.ts'
import { builtinFormats, createFormats, formats } from './formats/index.ts'
import { joinDefaults } from './join.ts'
import { sources } from './sources/index.ts'

const problems = (schema: z.ZodType, value: unknown): string[] => schema.safeParse(value).error?.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`) ?? []

describe('config', () => {
  it('has defaults for everything', () => {
    expect(privacyConfig.parse(undefined)).toEqual({ truncate_ip: 'none', user_ids: 'keep' })
    expect(geoConfig.parse(undefined)).toEqual({})
    expect(sourcesConfig.parse(undefined)).toEqual([])
    expect(joinDefaults).toMatchObject(joinConfig.parse(undefined))
    expect(formatsConfig.parse(undefined)).toEqual(expect.arrayContaining(['azure-apim', 'openai-http', 'cloudtrail']))
  })
  it('takes every plugin with its example', () => {
    for (const format of formats) expect(createFormats(formatsConfig.parse([{ [format.id]: format.example }])).map(({ id }) => id)).toEqual([format.id])
    for (const source of sources) expect(problems(sourcesConfig, [{ id: 'one', kind: source.id, ...(source.example as object) }])).toEqual([])
  })
  it('names what is wrong', () => {
    expect(problems(sourcesConfig, [{ id: 'one', kind: 'fil', paths: ['x'] }]).join()).toContain('0.kind')
    expect(problems(sourcesConfig, [{ id: 'one', kind: 'file', paths: ['x'], folow: true }]).join()).toContain('folow')
    expect(
      problems(
        sourcesConfig,
        [1, 2].map(() => ({ id: 'one', kind: 'file', paths: ['x'] })),
      ).join(),
    ).toContain('same id')
    expect(problems(privacyConfig, { hash_key: 'plain text' })).not.toEqual([])
    expect(() => createFormats(['mapping'])).toThrow(/formats: mapping\.match/)
    expect(() => createFormats(['nope'])).toThrow(`unknown format "nope"; formats: ${builtinFormats().join(', ')}`)
  })
  it('gives a JSON schema', () => {
    for (const schema of [privacyConfig, geoConfig, joinConfig, sourcesConfig, formatsConfig])
      expect(() => z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' })).not.toThrow()
  })
})
