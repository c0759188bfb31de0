import { CASE_DAY, CASE_MINUTE, CASE_START, type DetectorCase, past, usageSample } from '../../detector-case.ts'

const then = CASE_START + 6 * CASE_DAY + 10 * 60 * CASE_MINUTE
const quiet = past(7, CASE_MINUTE, (at) => usageSample(at))
const expensive = { model: 'o1-2024-12-17', request_model: 'o1', input_tokens: 4000, output_tokens: 1000, cost_usd: '0.12' }

export const cases: DetectorCase[] = [
  {
    name: 'forty times the usual spend on an expensive model',
    events: [...quiet, ...Array.from({ length: 300 }, (_, n) => usageSample(then + n * 1000, expensive, n + 1))],
    expect: [{ entity: 'key:fp_case', reason: 'cost-spike', severity: 'high' }],
  },
  {
    name: 'tokens without a price',
    events: [...quiet, ...Array.from({ length: 300 }, (_, n) => usageSample(then + n * 1000, { ...expensive, cost_usd: null, model: 'own-model' }, n + 1))],
    expect: [{ entity: 'key:fp_case', reason: 'token-spike', severity: 'medium' }],
  },
  {
    name: 'a key that was born in a burn is judged by its team',
    events: [...quiet, ...Array.from({ length: 200 }, (_, n) => usageSample(then + n * 1500, { ...expensive, api_key_id: 'fp_new', owner_ref: 'key:fp_new' }, n))],
    expect: [{ entity: 'key:fp_new', reason: 'new-key-spike', severity: 'high' }],
  },
  { name: 'a steady key', events: quiet, expect: [] },
  {
    name: 'the first days of a company: nothing to compare with, and below the cap',
    events: past(1, CASE_MINUTE, (at, n) => usageSample(at, n % 60 < 5 ? expensive : {})),
    expect: [],
  },
]
