import { array, assert, property, string } from 'fast-check'
import { describe, expect, it } from 'vitest'
import { bindParameters, codeOf, placeholders, quoteString, splitStatements, withSettings } from './sql.ts'

describe('splitStatements', () => {
  it('splits at semicolons outside literals, names and comments', () => {
    const sql = `-- a; b
CREATE TABLE a (x String DEFAULT ';' COMMENT 'it''s; \\'so\\''); /* ; */
SELECT ";", \`;\`, $tag$ ; $tag$; -- end;
;;`
    const parts = splitStatements(sql)
    expect(parts.length).toBe(2)
    expect(parts[0]).toContain("COMMENT 'it''s; \\'so\\'')")
    expect(parts[1]).toContain('$tag$ ; $tag$')
  })

  it('gives back any list of statements with any literals', () => {
    assert(
      property(array(string(), { minLength: 1, maxLength: 5 }), (texts) => {
        const statements = texts.map((text) => `SELECT ${quoteString(text)}`)
        expect(splitStatements(`${statements.join(';\n')};`)).toEqual(statements)
      }),
    )
  })
})

describe('codeOf', () => {
  it('keeps the length and blanks everything that is not code', () => {
    const sql = "SELECT 'INTO OUTFILE' /* FORMAT x */ AS `a;b` -- c"
    expect(codeOf(sql).length).toBe(sql.length)
    expect(codeOf(sql).replaceAll(/\s+/g, ' ').trim()).toBe('SELECT AS')
    expect(codeOf("'open").trim()).toBe('')
  })
})

describe('withSettings', () => {
  it('puts the clause at the end and refuses names that are no settings', () => {
    expect(withSettings('SELECT 1 -- x\n;', { max_threads: 1, join_algorithm: "a'b" })).toBe("SELECT 1 -- x\n\nSETTINGS max_threads=1, join_algorithm='a\\'b'")
    expect(withSettings('SELECT 1', {})).toBe('SELECT 1')
    expect(() => withSettings('SELECT 1', { 'a=1; DROP': 1 })).toThrow(/not the name/)
  })
})

describe('bindParameters', () => {
  it('sets only the parameters that the text names', () => {
    expect(placeholders("SELECT {a:String}, '{b:String}', { c :UInt8}")).toEqual(new Set(['a', 'c']))
    expect(bindParameters('SELECT {a:String}', { a: "x'\n", unused: 1 })).toBe("SET param_a='x\\'\\\\n'; SELECT {a:String}")
    expect(bindParameters('SELECT 1', { a: 1 })).toBe('SELECT 1')
    expect(() => bindParameters('SELECT {a:String}', {})).toThrow(/a$/)
  })
})
