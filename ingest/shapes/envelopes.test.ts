import { describe, expect, it } from 'vitest'
import { expandEnvelope } from './envelopes.ts'

const bodies = (text: string): string[] => expandEnvelope(text).map(({ body }) => body)
const deep = `${'{"a":'.repeat(20_000)}1${'}'.repeat(20_000)}`

describe('a list of objects in one line', () => {
  it('is a batch, as shippers post it', () => {
    expect(bodies('[{"a":1},{"b":2}]')).toEqual(['{"a":1}', '{"b":2}'])
    expect(bodies(' [ {"a":1} ]')).toEqual(['{"a":1}'])
  })
  it('may carry records of Firehose', () => {
    const data = Buffer.from('{"a":1}').toString('base64')
    expect(bodies(JSON.stringify([{ recordId: '1', data }]))).toEqual(['{"a":1}'])
  })
  it.each([['[1,2]'], ['["a","b"]'], ['[]'], ['[{"a":1},2]'], ['[{"a":1}'], ['[{a}] a line of text']])('%s is somebody’s own value', (text) => expect(bodies(text)).toEqual([text]))
  it('may be long', () => expect(bodies(`[${Array.from({ length: 200_000 }, () => '{}').join(',')}]`)).toHaveLength(200_000))
})

describe('records', () => {
  it.each([
    ['CloudTrail', { Records: [{ a: 1 }] }],
    ['Event Hubs', { records: [{ a: 1 }] }],
    ['Firehose', { requestId: 'r', timestamp: 1, records: [{ data: Buffer.from('{"a":1}').toString('base64'), recordId: '1' }] }],
  ])('of %s', (_name, envelope) => expect(bodies(JSON.stringify(envelope))).toEqual(['{"a":1}']))
  it('beside other things are the line of an application, which stays whole', () => {
    const line = JSON.stringify({ level: 'info', records: [{ sku: 7 }], response: { object: 'chat.completion' } })
    expect(bodies(line)).toEqual([line])
  })
})

describe('a value that is nested too deeply to be written out', () => {
  it.each([
    ['Records', `{"Records":[${deep}]}`],
    ['records', `{"records":[{"a":1},${deep}]}`],
    ['logEvents', `{"messageType":"DATA_MESSAGE","logEvents":[{"id":"1","x":${deep}}]}`],
    ['a list', `[${deep}]`],
  ])('under %s: the line is given as it is, nothing is thrown', (_name, text) => expect(bodies(text)).toEqual([text]))
})
