/** A made-up parcel carrier and its LLM keys. Everything derives from the seed; nothing here is a real key, person or company. */
import { digits, hex, token } from './made-up.ts'

export type Provider = 'openai' | 'azure'
/** How the application writes its log line: flat JSON, Lambda's JSON format, Powertools, or CloudTrail. */
export type Wrapper = 'flat' | 'lambda' | 'powertools'
export type Operation = 'chat' | 'responses' | 'embeddings' | 'images' | 'transcription'
/** office: working days; consumer: evenings and weekends too; steady: machines. */
export type Cycle = 'office' | 'consumer' | 'steady'

export interface ModelShare {
  /** What is asked for: alias, or deployment on Azure. */
  request: string
  /** What the response names. */
  response: string
  share: number
}

export interface Service {
  id: string
  team: string
  provider: Provider
  wrapper: Wrapper
  /** File under the log directory that its lines go to. */
  file: string
  operation: Operation
  models: readonly ModelShare[]
  requests_per_day: number
  cycle: Cycle
  /** Median tokens in and out; sizes are log-normal around it. */
  tokens: readonly [number, number]
  /** Share of calls that stream, and share of the streams that ask for no usage (they end up unmetered). */
  streams: readonly [number, number]
  /** Cloud region that it runs in. */
  region: string
  addresses: readonly string[]
  replicas: readonly string[]
  user_agent: string
  /** The made-up credential as it stands in the log line. */
  key: string
  /** false: nobody has claimed this key in the attribution table. */
  attributed: boolean
}

export interface Team {
  id: string
  name: string
  cost_centre: string
  contacts: readonly string[]
}

export interface Company {
  seed: number
  name: string
  account_id: string
  teams: readonly Team[]
  services: readonly Service[]
}

/** The same seed gives the same company, keys and addresses. */
export function createCompany(seed: number): Company {
  const services = blueprints.map((plan) => build(seed, plan))
  return { seed, name: 'Kestrel Parcel', account_id: digits(`${seed} account`, 12), teams, services }
}

export const teams: readonly Team[] = [
  { id: 'search', name: 'Search and Catalogue', cost_centre: 'CC-1100', contacts: ['search-oncall@kestrel-parcel.example'] },
  { id: 'support', name: 'Customer Support', cost_centre: 'CC-1200', contacts: ['support-tech@kestrel-parcel.example'] },
  { id: 'logistics', name: 'Logistics', cost_centre: 'CC-1300', contacts: ['logistics-eng@kestrel-parcel.example'] },
  { id: 'growth', name: 'Growth', cost_centre: 'CC-2100', contacts: ['growth@kestrel-parcel.example'] },
  { id: 'data', name: 'Data Science', cost_centre: 'CC-3100', contacts: ['data-science@kestrel-parcel.example'] },
  { id: 'finance', name: 'Finance Systems', cost_centre: 'CC-4100', contacts: ['finance-systems@kestrel-parcel.example'] },
  { id: 'legal', name: 'Legal and Customs', cost_centre: 'CC-4200', contacts: ['legal-tech@kestrel-parcel.example'] },
  { id: 'platform', name: 'Developer Platform', cost_centre: 'CC-5100', contacts: ['platform-oncall@kestrel-parcel.example'] },
]

// Networks whose country and operator are well known, so that the offline look-up has an answer: AWS eu-west-1 (Ireland),
// eu-central-1 (Frankfurt) and us-east-1, Azure West Europe and East US, and an office line of a British carrier.
const NETWORKS = {
  'aws-ie': { region: 'eu-west-1', prefixes: ['52.208.10', '52.210.33', '34.241.12', '54.171.20'] },
  'aws-de': { region: 'eu-central-1', prefixes: ['3.120.14', '18.194.9', '52.28.1'] },
  'aws-us': { region: 'us-east-1', prefixes: ['3.208.5', '34.226.4', '44.192.7'] },
  'azure-nl': { region: 'West Europe', prefixes: ['20.50.3', '51.144.7', '40.68.1', '20.82.1'] },
  'azure-us': { region: 'East US', prefixes: ['20.42.3', '13.92.4', '52.168.3'] },
  office: { region: 'eu-west-2', prefixes: ['81.2.69'] },
} as const
type Network = keyof typeof NETWORKS

const model = (request: string, response: string, share = 1): ModelShare => ({ request, response, share })
const M = {
  mini4o: model('gpt-4o-mini', 'gpt-4o-mini-2024-07-18'),
  gpt4o: model('gpt-4o', 'gpt-4o-2024-08-06'),
  gpt41: model('gpt-4.1', 'gpt-4.1-2025-04-14'),
  mini41: model('gpt-4.1-mini', 'gpt-4.1-mini-2025-04-14'),
  gpt55: model('gpt-5.5', 'gpt-5.5-2026-04-23'),
  mini54: model('gpt-5.4-mini', 'gpt-5.4-mini-2026-03-17'),
  o3: model('o3', 'o3-2025-04-16'),
  o4mini: model('o4-mini', 'o4-mini-2025-04-16'),
  embedSmall: model('text-embedding-3-small', 'text-embedding-3-small'),
  embedLarge: model('text-embedding-3-large', 'text-embedding-3-large'),
  transcribe: model('gpt-4o-transcribe', 'gpt-4o-transcribe'),
  image: model('gpt-image-1', 'gpt-image-1'),
} as const
const share = (entry: ModelShare, part: number): ModelShare => ({ ...entry, share: part })
const deployed = (deployment: string, entry: ModelShare): ModelShare => model(deployment, entry.response, entry.share)

type Blueprint = Pick<Service, 'id' | 'team' | 'provider' | 'wrapper' | 'operation' | 'models' | 'requests_per_day' | 'cycle' | 'tokens'> & {
  network: Network
  streams?: readonly [number, number]
  attributed?: false
}

const plan = (
  team: string,
  id: string,
  where: readonly [Provider, Wrapper, Network],
  what: readonly [Operation, readonly ModelShare[]],
  load: readonly [requests_per_day: number, Cycle, tokens: readonly [number, number]],
  rest: { streams?: readonly [number, number]; attributed?: false } = {},
): Blueprint => ({
  id,
  team,
  provider: where[0],
  wrapper: where[1],
  network: where[2],
  operation: what[0],
  models: what[1],
  requests_per_day: load[0],
  cycle: load[1],
  tokens: load[2],
  ...rest,
})

const blueprints: readonly Blueprint[] = [
  plan('search', 'catalogue-embedder', ['openai', 'lambda', 'aws-ie'], ['embeddings', [M.embedSmall]], [590, 'steady', [3200, 0]]),
  plan('search', 'query-rewriter', ['openai', 'flat', 'aws-ie'], ['chat', [M.mini4o]], [670, 'consumer', [650, 90]]),
  plan('search', 'relevance-judge', ['openai', 'powertools', 'aws-ie'], ['chat', [M.mini41]], [250, 'steady', [2600, 180]]),
  plan('support', 'chat-assistant', ['openai', 'flat', 'aws-ie'], ['chat', [share(M.gpt4o, 0.8), share(M.mini4o, 0.2)]], [790, 'consumer', [3800, 420]], { streams: [0.8, 0.05] }),
  plan('support', 'ticket-triage', ['openai', 'lambda', 'aws-de'], ['chat', [M.mini4o]], [430, 'consumer', [1500, 120]]),
  plan('support', 'reply-drafts', ['openai', 'powertools', 'aws-de'], ['responses', [M.gpt41]], [210, 'office', [4200, 520]]),
  plan('support', 'voice-notes', ['openai', 'flat', 'aws-de'], ['transcription', [M.transcribe]], [90, 'office', [2400, 380]]),
  plan('logistics', 'route-explainer', ['openai', 'powertools', 'aws-de'], ['chat', [M.mini41]], [250, 'steady', [2100, 260]]),
  plan('logistics', 'customs-forms', ['openai', 'lambda', 'aws-ie'], ['responses', [M.mini54]], [200, 'office', [5200, 900]]),
  plan('logistics', 'address-parser', ['azure', 'flat', 'azure-nl'], ['chat', [deployed('address-parser-mini', M.mini4o)]], [390, 'steady', [420, 110]]),
  plan('growth', 'campaign-copy', ['openai', 'flat', 'aws-us'], ['chat', [share(M.gpt4o, 0.7), share(M.gpt41, 0.3)]], [110, 'office', [1800, 900]], { streams: [0.5, 0] }),
  plan('growth', 'product-images', ['openai', 'flat', 'aws-us'], ['images', [M.image]], [30, 'office', [120, 1056]]),
  plan('growth', 'landing-pages', ['openai', 'lambda', 'aws-us'], ['responses', [M.mini41]], [100, 'office', [2600, 1400]], { streams: [0.6, 0] }),
  plan('data', 'notebooks', ['openai', 'flat', 'office'], ['chat', [share(M.gpt4o, 0.6), share(M.o3, 0.4)]], [110, 'office', [5200, 1500]]),
  plan('data', 'warehouse-questions', ['azure', 'powertools', 'azure-nl'], ['chat', [deployed('warehouse-4o', M.gpt4o)]], [140, 'office', [6400, 480]]),
  plan('data', 'forecast-notes', ['azure', 'flat', 'azure-nl'], ['chat', [deployed('forecast-o4-mini', M.o4mini)]], [70, 'office', [3600, 1800]]),
  plan('finance', 'invoice-reader', ['azure', 'flat', 'azure-nl'], ['chat', [deployed('invoice-4o', M.gpt4o)]], [280, 'office', [2900, 350]]),
  plan('finance', 'fraud-review', ['azure', 'powertools', 'azure-us'], ['chat', [deployed('fraud-41', M.gpt41)]], [230, 'steady', [3300, 300]]),
  plan('finance', 'report-writer', ['azure', 'flat', 'azure-us'], ['responses', [deployed('reports-gpt-55', M.gpt55)]], [50, 'office', [9000, 2400]]),
  plan('legal', 'contract-review', ['azure', 'flat', 'azure-nl'], ['chat', [deployed('contracts-41', M.gpt41)]], [70, 'office', [14000, 1100]]),
  plan('legal', 'clause-search', ['azure', 'powertools', 'azure-nl'], ['embeddings', [deployed('clauses-embed', M.embedLarge)]], [150, 'office', [1800, 0]]),
  plan('platform', 'code-review-bot', ['openai', 'flat', 'aws-us'], ['responses', [M.gpt55]], [120, 'office', [8600, 1900]], { streams: [0.4, 0] }),
  plan('platform', 'build-summaries', ['openai', 'lambda', 'aws-us'], ['chat', [M.mini41]], [210, 'office', [5400, 240]]),
  plan('platform', 'evaluation-runs', ['openai', 'flat', 'aws-us'], ['chat', [M.o3]], [80, 'steady', [2200, 1300]]),
  // A third-party model on an Azure endpoint: no OpenAI price list knows it, so its tokens are kept and shown as unpriced.
  plan('platform', 'router-pilot', ['azure', 'flat', 'azure-us'], ['chat', [model('router-pilot-large', 'kestrel-router-large-v2')]], [100, 'steady', [1400, 260]]),
  // Nobody has claimed this key: finance sees it as unattributed.
  plan('search', 'legacy-crawler', ['openai', 'flat', 'aws-ie'], ['chat', [M.mini4o]], [160, 'steady', [2800, 210]], { attributed: false }),
]

function build(seed: number, { network, streams = [0, 0], attributed, ...plan }: Blueprint): Service {
  const name = `${seed} ${plan.id}`
  const { prefixes, region } = NETWORKS[network]
  const pick = (n: number) => Number.parseInt(hex(`${name} address ${n}`, 8), 16)
  // One country and operator a service, two or three addresses of it: a NAT gateway per zone.
  const addresses = Array.from({ length: 2 + (pick(0) % 2) }, (_, n) => `${prefixes[pick(n) % prefixes.length] ?? prefixes[0]}.${10 + (pick(n + 10) % 230)}`)
  const replicas = Array.from({ length: 2 + (pick(5) % 3) }, (_, n) => `${plan.id}-${hex(`${name} replica ${n}`, 5)}`)
  // Azure's keys are 32 hexadecimal digits; the others look like a project key and say that they are made up.
  const key = plan.provider === 'azure' ? hex(`${name} key`, 32) : `sk-demo-${token(`${name} key`).slice(0, 40)}`
  return {
    ...plan,
    file: fileOf(plan.provider, plan.wrapper),
    streams,
    attributed: attributed ?? true,
    region,
    addresses,
    replicas,
    key,
    user_agent: userAgents[pick(6) % userAgents.length] ?? '',
  }
}

const fileOf = (provider: Provider, wrapper: Wrapper): string => {
  if (provider === 'azure') return 'azure-openai.jsonl'
  return { flat: 'gateway.jsonl', lambda: 'lambda.jsonl', powertools: 'workers.jsonl' }[wrapper]
}

const userAgents = ['OpenAI/Python 1.109.1', 'OpenAI/JS 5.23.2', 'OpenAI/Python 2.6.0', 'AsyncOpenAI/Python 1.99.9', 'openai-java/3.8.0']
