import { accessSample, CASE_DAY, CASE_MINUTE, CASE_START, type DetectorCase, failedSample, past, usageSample } from '../../detector-case.ts'

const then = CASE_START + 5 * CASE_DAY + 10 * 60 * CASE_MINUTE
const quiet = past(6, 2 * CASE_MINUTE, (at, n) => (n % 50 === 7 ? failedSample(at, 'invalid_value') : usageSample(at)))
const stranger = { client_ip: '203.0.113.9', client_asn: 24_940, client_as_name: 'HETZNER-AS', client_country: 'DE' }
const models = ['gpt-4o', 'o1', 'o3', 'gpt-4.1', 'dall-e-3']
const search = Array.from({ length: 60 }, (_, n) =>
  failedSample(then + n * 2000 + 1, n % 3 === 0 ? 'model_not_found' : 'invalid_value', { ...stranger, request_model: models[n % 5] ?? null }, n),
)

export const cases: DetectorCase[] = [
  {
    name: 'a leaked-key checker that finds what works',
    events: [...quiet, ...search, usageSample(then + 125_001, { ...stranger, request_model: 'o1' }, 99)],
    expect: [{ entity: 'key:fp_case', reason: 'recon-then-success', severity: 'critical' }],
  },
  { name: 'the search alone', events: [...quiet, ...search], expect: [{ entity: 'key:fp_case', reason: 'target-enumeration', severity: 'high' }] },
  {
    name: 'one address tries many keys',
    events: [
      ...quiet,
      ...Array.from({ length: 40 }, (_, n) => failedSample(then + n * 2000 + 1, 'invalid_api_key', { ...stranger, outcome: 'auth_failure', api_key_id: `fp_try${n}` }, n)),
    ],
    expect: [{ entity: 'address:203.0.113.9', reason: 'key-enumeration', severity: 'high' }],
  },
  {
    name: 'a bad parameter after a deploy: one code, one model, the usual network',
    events: [...quiet, ...Array.from({ length: 200 }, (_, n) => failedSample(then + n * 1500 + 1, 'unsupported_parameter', {}, n))],
    expect: [{ entity: 'key:fp_case', reason: 'misconfiguration', severity: 'low' }],
  },
  {
    name: 'an exhausted quota',
    events: [...quiet, ...Array.from({ length: 200 }, (_, n) => failedSample(then + n * 1500 + 1, 'insufficient_quota', { outcome: 'quota', status_code: 429 }, n))],
    expect: [{ entity: 'key:fp_case', reason: 'quota-exhausted', severity: 'low' }],
  },
  {
    name: 'denied reads of many secrets',
    events: [
      ...past(5, 10 * CASE_MINUTE, (at) => accessSample(at)),
      ...Array.from({ length: 20 }, (_, n) => accessSample(then + n * 200, { outcome: 'denied', error_code: 'AccessDeniedException', secret_id: `prod/secret-${n}` }, n + 1)),
    ],
    expect: [{ entity: 'actor:role/app', reason: 'denied-secret-search', severity: 'medium' }],
  },
  { name: 'the usual errors', events: quiet, expect: [] },
]
