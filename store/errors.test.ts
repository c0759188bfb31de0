import { describe, expect, it } from 'vitest'
import { PermanentError, TransientError } from '../runtime/errors.ts'
import { BadRowError, EngineError, storeError } from './errors.ts'

const coded = (code: number, text = 'x') => new EngineError(`Code: ${code}. DB::Exception: ${text}`, code)

describe('storeError', () => {
  it('tells what waiting cures from what it does not', () => {
    expect(storeError(new Error('connect ECONNREFUSED'), 'query')).toBeInstanceOf(TransientError)
    for (const code of [159, 202, 241, 252, 319, 999]) expect(storeError(coded(code), 'insert'), String(code)).toBeInstanceOf(TransientError)
    for (const code of [16, 47, 60, 62, 497, 516]) expect(storeError(coded(code), 'insert'), String(code)).toBeInstanceOf(PermanentError)
    expect(storeError(coded(159), 'read')).toBeInstanceOf(PermanentError)
    expect(storeError(coded(516), 'query').message).toContain('store.password')
  })

  it('names the bad row of an insert, without what was in it', () => {
    const error = storeError(coded(27, 'Cannot parse input: expected , before: \'"my secret text",1]\': (at row 17)\n: Row 16: secret'), 'insert')
    expect(error).toBeInstanceOf(BadRowError)
    expect((error as BadRowError).row).toBe(17)
    expect(error.message).not.toContain('secret')
    expect(storeError(coded(27), 'query')).not.toBeInstanceOf(BadRowError)
    const constraint = storeError(coded(469, 'Constraint `c` for table w.t is violated at row 3. Expression: (a < 1)'), 'insert')
    expect((constraint as BadRowError).row).toBe(3)
  })

  it('says a thing once, and nothing of how the statement was taken apart', () => {
    const twice = coded(73, 'Code: 73. DB::Exception: Code: 73. DB::Exception: Unknown format Nope. (UNKNOWN_FORMAT). (UNKNOWN_FORMAT). (UNKNOWN_FORMAT)')
    expect(storeError(twice, 'read').message).toBe('Code: 73. DB::Exception: Unknown format Nope. (UNKNOWN_FORMAT)')
    const syntax = coded(62, "Syntax error: failed at position 7 (1): 1. Expected end of query: In scope SELECT formatQuerySingleLine('SELEC 1') AS line. (SYNTAX_ERROR)")
    expect(storeError(syntax, 'query').message).toBe('Code: 62. DB::Exception: Syntax error: failed at position 7 (1): 1. Expected end of query. (SYNTAX_ERROR)')
  })

  it('lets an abort pass as it is', () => {
    const abort = new DOMException('aborted', 'AbortError')
    expect(storeError(abort, 'query')).toBe(abort)
  })
})
