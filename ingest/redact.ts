/**
 * The second net. The first is construction: a format copies named fields only, so no body, header or prompt gets here. What
 * survives is short text that people and providers write (codes, labels, agents, ids), and people paste keys into anything.
 * Every pattern is linear: it starts at a token boundary or a literal, has one unbounded part and nothing nested.
 */
import { plainText } from '../runtime/text.ts'
import { createRecent } from './recent.ts'

/** `id`: names of credentials are what the field is for (an access key id in credential_id); `free`: anything may be in it. */
export type TextKind = 'id' | 'free'

interface Pattern {
  kind: string
  pattern: RegExp
  /** Literals of which one must be in a match: looking for them costs a tenth of the pattern. */
  needs?: readonly string[]
  /** Group that is the secret; the rest of the match stays. Default: the whole match. */
  group?: number
  /** A second look at what the pattern found. */
  confirm?: (text: string) => boolean
  /** Only in free text. */
  free?: true
  /** Keys of providers keep their last four characters, as consoles show them; passwords keep nothing. */
  last4?: true
}

const T = '(?<![A-Za-z0-9])' // a token starts here
/** `name` = `value` in the ways of URLs, headers, JSON, YAML and code; the name is in group 1, the value in group 2. */
const SECRET_NAMES =
  'api[_-]?key|apikey|x-api-key|ocp-apim-subscription-key|subscription[_-]?key|account[_-]?key|shared[_-]?access[_-]?(?:key|signature)|access[_-]?token|refresh[_-]?token|id[_-]?token|auth[_-]?token|session[_-]?token|security[_-]?token|secret[_-]?access[_-]?key|secret[_-]?key|client[_-]?secret|secret[_-]?value|private[_-]?key|signing[_-]?key|encryption[_-]?key|passphrase|password|passwd|pwd|set-cookie|cookie|proxy-authorization|authorization|sig'

const patterns: readonly Pattern[] = [
  // Up to its end or the text's: an encrypted key has headers with dashes in front of it.
  {
    kind: 'private-key',
    needs: ['PRIVATE KEY'],
    pattern: /-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?:(?!-----END )[^])*(?:-----END [A-Z0-9 ]{0,40}-----)?/g,
  },
  { kind: 'openai-key', needs: ['T3BlbkFJ'], pattern: /(?<![\w-])[\w-]*T3BlbkFJ[\w-]*/g, last4: true },
  { kind: 'anthropic-key', needs: ['sk-ant-'], pattern: new RegExp(`${T}sk-ant-[\\w-]{16,}`, 'g'), last4: true },
  { kind: 'api-key', needs: ['sk-', 'sk_'], pattern: new RegExp(`${T}sk[-_](?:proj|svcacct|admin|or|lf|live|test)[-_][\\w-]{12,}`, 'g'), last4: true },
  { kind: 'api-key', needs: ['sk-'], pattern: new RegExp(`${T}sk-[\\w-]{20,}`, 'g'), last4: true },
  { kind: 'openai-session', needs: ['sess-'], pattern: new RegExp(`${T}sess-[A-Za-z0-9]{32,}`, 'g'), last4: true },
  {
    kind: 'aws-access-key-id',
    needs: ['AKIA', 'ASIA', 'ABIA', 'ACCA'],
    pattern: new RegExp(`${T}(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}(?![A-Za-z0-9])`, 'g'),
    free: true,
    last4: true,
  },
  { kind: 'aws-bedrock-key', needs: ['ABSK', 'bedrock-api-key-'], pattern: new RegExp(`${T}(?:ABSK|bedrock-api-key-)[A-Za-z0-9+/=]{40,}`, 'g'), last4: true },
  { kind: 'aws-session-token', needs: ['FwoG', 'FQoG', 'IQoJ'], pattern: new RegExp(`${T}(?:FwoG|FQoG|IQoJ)[A-Za-z0-9+/=]{60,}`, 'g') },
  {
    kind: 'github-token',
    needs: ['ghp_', 'gho_', 'ghu_', 'ghs_', 'ghr_', 'github_pat_'],
    pattern: new RegExp(`${T}(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\\w{30,})`, 'g'),
    last4: true,
  },
  { kind: 'gitlab-token', needs: ['gl'], pattern: new RegExp(`${T}gl(?:pat|dt|rt|soat|cbt)-[\\w-]{18,}`, 'g'), last4: true },
  { kind: 'slack-token', needs: ['xox', 'xapp-'], pattern: new RegExp(`${T}xox[abeoprs]-[\\w-]{10,}|${T}xapp-[\\w-]{20,}`, 'g'), last4: true },
  { kind: 'slack-webhook', needs: ['hooks.slack'], pattern: /hooks\.slack\.com\/(?:services|workflows|triggers)\/[\w/+-]{10,}/g },
  { kind: 'google-key', needs: ['AIza'], pattern: new RegExp(`${T}AIza[\\w-]{30,}`, 'g'), last4: true },
  { kind: 'google-token', needs: ['ya29.', 'GOCSPX-', '1//'], pattern: new RegExp(`${T}(?:ya29\\.[\\w-]{20,}|GOCSPX-[\\w-]{20,}|1//[\\w-]{30,})`, 'g') },
  {
    kind: 'stripe-key',
    needs: ['k_live_', 'k_test_', 'whsec_'],
    pattern: new RegExp(`${T}(?:rk|pk)_(?:live|test)_[A-Za-z0-9]{16,}|${T}whsec_[A-Za-z0-9+/=]{16,}`, 'g'),
    last4: true,
  },
  { kind: 'hugging-face-token', needs: ['hf_', 'api_org_'], pattern: new RegExp(`${T}(?:hf|api_org)_[A-Za-z0-9]{30,}`, 'g'), last4: true },
  { kind: 'npm-token', needs: ['npm_'], pattern: new RegExp(`${T}npm_[A-Za-z0-9]{36}`, 'g'), last4: true },
  { kind: 'pypi-token', needs: ['pypi-'], pattern: new RegExp(`${T}pypi-[\\w-]{50,}`, 'g'), last4: true },
  { kind: 'sendgrid-key', needs: ['SG.'], pattern: new RegExp(`${T}SG\\.[\\w-]{16,}\\.[\\w-]{16,}`, 'g'), last4: true },
  { kind: 'databricks-token', needs: ['dapi'], pattern: new RegExp(`${T}dapi[a-f0-9]{32}`, 'g'), last4: true },
  { kind: 'digitalocean-token', needs: ['_v1_'], pattern: new RegExp(`${T}do[opr]_v1_[a-f0-9]{64}`, 'g'), last4: true },
  {
    kind: 'model-provider-key',
    needs: ['gsk_', 'xai-', 'pplx-', 'r8_', 'fw_', 'nvapi-', 'tgp_v1_', 'csk-'],
    pattern: new RegExp(`${T}(?:gsk_|xai-|pplx-|r8_|fw_|nvapi-|tgp_v1_|csk-)[\\w-]{24,}`, 'g'),
    last4: true,
  },
  { kind: 'vault-token', needs: ['hvs.', 'hvb.', 'hvr.'], pattern: new RegExp(`${T}hv[sbr]\\.[\\w-]{20,}`, 'g') },
  { kind: 'doppler-token', needs: ['dp.'], pattern: new RegExp(`${T}dp\\.(?:pt|st|sa|ct|scim|audit)\\.[\\w.-]{20,}`, 'g') },
  { kind: 'linear-key', needs: ['lin_'], pattern: new RegExp(`${T}lin_(?:api|oauth)_[A-Za-z0-9]{30,}`, 'g'), last4: true },
  { kind: 'notion-token', needs: ['secret_', 'ntn_'], pattern: new RegExp(`${T}(?:secret|ntn)_[A-Za-z0-9]{40,}`, 'g'), last4: true },
  { kind: 'shopify-token', needs: ['shp'], pattern: new RegExp(`${T}shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}`, 'g'), last4: true },
  { kind: 'telegram-token', needs: [':AA'], pattern: /(?<![A-Za-z0-9])\d{8,10}:AA[\w-]{33}(?![\w-])/g },
  { kind: 'mailgun-key', needs: ['key-'], pattern: new RegExp(`${T}key-[a-f0-9]{32}`, 'g'), last4: true },
  { kind: 'twilio-key', needs: ['SK'], pattern: new RegExp(`${T}SK[a-f0-9]{32}(?![A-Za-z0-9])`, 'g'), last4: true },
  { kind: 'azure-client-secret', needs: ['Q~'], pattern: /(?<![\w.~-])[\w.~-]{3}\dQ~[\w.~-]{31,34}/g },
  // Since 2024 keys of Azure OpenAI carry a signature of their own: 84 characters, known without a word around them.
  { kind: 'azure-key', needs: ['JQQJ9'], pattern: new RegExp(`${T}[A-Za-z0-9]{52}JQQJ9[A-Za-z0-9]{27}(?![A-Za-z0-9])`, 'g'), last4: true },
  { kind: 'azure-key', needs: ['=='], pattern: /(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{86,512}==/g },
  // Any URL-safe token with a dot whose first part decodes to a header, so that versions and host names stay.
  { kind: 'jwt', needs: ['eyJ'], pattern: /(?<![\w-])eyJ[\w-]{6,}\.[\w-]{4,}(?:\.[\w-]*)?/g, confirm: isJwt },
  { kind: 'credentials-in-url', needs: ['://'], pattern: /(?<![A-Za-z0-9+.-])[A-Za-z][A-Za-z0-9+.-]{1,30}:\/\/[^\s/@:"'<>]{0,256}:([^\s/@"'<>]{1,512})@/g, group: 1 },
  { kind: 'authorization', pattern: /(?<![A-Za-z0-9])(?:bearer|basic|token|digest|negotiate)(?:\s|%20){1,8}([A-Za-z0-9._~+/=-]{16,})/gi, group: 1, free: true },
  {
    kind: 'secret',
    pattern: new RegExp(
      `(?<![A-Za-z0-9])(?:[A-Za-z0-9]{1,32}[_-]){0,3}(?:${SECRET_NAMES})\\\\{0,3}["']?(?:\\s{0,4}(?:[:=]|%3D|=>|%3A)\\s{0,4}|\\s{1,4}is\\s{1,4})\\\\{0,3}["']?(?:(?:bearer|basic|token)\\s{1,4})?([^\\s"'\`,;&<>\\\\[\\]{}()]{6,})`,
      'gi',
    ),
    group: 1,
    free: true,
  },
  // Keys without a shape of their own (32 hex digits of Azure, 40 characters of AWS), behind a word that says what they are. The
  // name of a secret in an ARN (…:111122223333:secret:name) is none. In names, too: no name has such a word, a gap and a key.
  {
    kind: 'secret',
    pattern: /(?<![A-Za-z]|\d:)(?:key|secret|token|credentials?)\d?(?:\s{1,4}(?:is|was|provided))?(?:[\s:='"`(\\]|%3[AD]|%2[027]){1,8}([A-Za-z0-9+/_-]{32,512}={0,2})/gi,
    group: 1,
    confirm: looksRandom,
  },
  // What a cap cut off in front of us: the rest of a key is too short for its pattern, a password has lost the @ behind it.
  { kind: 'cut-key', needs: ['…'], pattern: /(?<![A-Za-z0-9])(?:sk[-_]|AKIA|ASIA|eyJ)[\w.-]*…$/g },
  { kind: 'credentials-in-url', needs: ['…'], pattern: /:\/\/[^\s/@:"'<>]{0,256}:([^\s/@"'<>]{1,512}…)$/g, group: 1 },
]

/** One look that says no for nearly every text: nothing in `patterns` can match without one of these. Built beside them, tested against them. */
const MAYBE =
  /sk[-_]|T3Blbk|-----B|sess-|A(?:KI|SI|BI|CC)A|ABSK|bedrock-api|F[wQ]oG|IQoJ|gh[pousr]_|github_|gl[a-z]+-|xox|xapp|hooks\.|AIza|ya29|GOCSPX|1\/\/|[rp]k_|whsec_|hf_|api_org|npm_|pypi-|SG\.|dapi|do[opr]_|gsk_|xai-|pplx-|r8_|fw_|nvapi|tgp_|csk-|hv[sbr]\.|dp\.|lin_|secret_|ntn_|shp[acps]|:AA|key-|SK[a-f0-9]|Q~|==|eyJ|:\/\/|JQQJ9|bearer|basic|token|digest|negotiate|[:=]|%[23]|\sis\s|key\d?[\s"'`(\\]|secret\d?[\s"'`(\\]|credential|…$/i

const EMAIL = /(?<![\w.+-])[\w.+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}/g

export interface RedactOptions {
  /** Default `free`. */
  kind?: TextKind
  /** Cut e-mail addresses out, too (privacy.user_ids: hash), or put what the function says in their place. */
  emails?: boolean | ((email: string) => string)
}

/**
 * The text with every key, token and password replaced by `[redacted:<kind>]` or `[redacted:<kind> …last4]`. Linear in the
 * length; redacting twice changes nothing. Used on events, on reject details and by the logger.
 */
export function redactText(text: string, options: RedactOptions = {}): string {
  let result = text
  if (text.length >= 10 && MAYBE.test(text)) {
    for (const entry of patterns) {
      if (entry.free === true && options.kind === 'id') continue
      if (entry.needs !== undefined && !entry.needs.some((literal) => result.includes(literal))) continue
      result = result.replace(entry.pattern, (...match: unknown[]) => replacement(entry, match))
    }
  }
  const { emails = false } = options
  if (emails === false || !result.includes('@')) return result
  return emails === true ? result.replace(EMAIL, '[redacted:e-mail]') : result.replace(EMAIL, emails)
}

function replacement(entry: Pattern, match: readonly unknown[]): string {
  const whole = String(match[0])
  const secret = entry.group === undefined ? whole : String(match[entry.group])
  if (secret.startsWith('[redacted:') || entry.confirm?.(secret) === false) return whole
  const mark = entry.last4 === true && secret.length >= 16 ? `[redacted:${entry.kind} …${secret.slice(-4)}]` : `[redacted:${entry.kind}]`
  if (entry.group === undefined) return mark
  // The secret is the last thing of the match but for one closing character (the @ of a URL).
  const at = whole.lastIndexOf(secret)
  return whole.slice(0, at) + mark + whole.slice(at + secret.length)
}

/** Hex of a whole key, or letters of both cases with digits: words, paths and versions are not. */
function looksRandom(text: string): boolean {
  return /^(?:[0-9a-f]{32}|[0-9A-F]{32})$/.test(text) || (/[a-z]/.test(text) && /[A-Z]/.test(text) && /\d/.test(text))
}

function isJwt(text: string): boolean {
  const head = Buffer.from(text.slice(0, Math.min(text.indexOf('.'), 4096)), 'base64url').toString('latin1')
  return head.startsWith('{') && (head.includes('"alg"') || head.includes('"typ"') || head.includes('"enc"') || head.includes('"kid"'))
}

// A window behind the cap is read as well, so that a key that lies across the cut is recognised before it is cut.
const WINDOW = 4096
/** Neither control characters nor e-mail addresses: most ids and names. */
const PLAIN = /^[A-Za-z0-9 _.:/+-]*$/
/**
 * A narrower and quicker look for texts of these characters only, which ids of requests are: a pattern can match one only if one
 * of its literals is in it, and patterns without literals need a blank, `:`, `=` or `%`.
 */
const WORD = /^[\w-]*$/
const WORD_LITERALS = new RegExp(
  patterns
    .flatMap(({ needs = [] }) => needs)
    .filter((literal) => WORD.test(literal))
    .join('|'),
)
const isHarmless = (text: string): boolean => (WORD.test(text) ? !WORD_LITERALS.test(text) : PLAIN.test(text) && !MAYBE.test(text))
const MAX_LABEL = 1024
const KNOWN_LENGTH = 160
const KNOWN = 8192

export interface Cleaner {
  /** Untrusted text as it may be stored: well-formed, without control characters, redacted, at most `max` UTF-16 units. */
  clean(text: string, kind: TextKind, max?: number): string
  /** The same for a field: null stays null, and what is no text is left for the schema to refuse. */
  id<T extends string | null>(value: T): T
  free<T extends string | null>(value: T): T
  /** `free` for ids that hardly come twice: remembering them would only push out what does. */
  unique<T extends string | null>(value: T): T
}

/**
 * Most labels repeat (models, codes, agents), hence a bounded cache of short texts. `pseudonym`: for e-mail addresses in names of
 * actors and owners, who would all be one if a constant stood there.
 */
export function createCleaner(options: { emails: boolean; pseudonym?: (email: string) => string }): Cleaner {
  const in_ids = options.emails && options.pseudonym !== undefined ? options.pseudonym : options.emails
  const known = { id: createRecent<string, string>(KNOWN), free: createRecent<string, string>(KNOWN) }
  const work = (text: string, kind: TextKind, max: number): string => {
    if (text.length <= max && isHarmless(text)) return text
    const window = text.length > max + WINDOW ? text.slice(0, max + WINDOW) : text
    return plainText(redactText(plainText(window.toWellFormed(), max + WINDOW), { kind, emails: kind === 'id' ? in_ids : options.emails }), max)
  }
  const clean = (text: string, kind: TextKind, max = MAX_LABEL): string => {
    // What is remembered is as long as a label may be, and a mark is longer than a short key: a tier or a flag has less room.
    if (text.length > KNOWN_LENGTH || max < MAX_LABEL) return work(text, kind, max)
    const before = known[kind].get(text)
    if (before !== undefined) return before
    const cleaned = work(text, kind, max)
    known[kind].set(text, cleaned)
    return cleaned
  }
  return {
    clean,
    id: <T extends string | null>(value: T) => (typeof value === 'string' ? (clean(value, 'id') as T) : value),
    free: <T extends string | null>(value: T) => (typeof value === 'string' ? (clean(value, 'free') as T) : value),
    unique: <T extends string | null>(value: T) => (typeof value === 'string' ? (work(value, 'free', MAX_LABEL) as T) : value),
  }
}
