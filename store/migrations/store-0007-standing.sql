-- What stands. The refusal of a person's act (not in responses.people, a dry run, decided already) is a step and leaves everything
-- as it was: without this a stranger's try made a waiting proposal read `refused`. In a tuple a null counts; alone it would
-- be passed over for an older value.
CREATE OR REPLACE VIEW {database}.responses
(
    response_id UUID COMMENT 'hash of alert and action',
    alert_id UUID COMMENT 'alert that it answers',
    state LowCardinality(String) COMMENT 'newest step: proposed, approved, denied, expired, refused, issued, intent, executed, unknown, verified, failed, undone',
    action LowCardinality(String) COMMENT 'what would be done',
    target_kind LowCardinality(String) COMMENT 'api-key, access-key, project …',
    target_id String COMMENT 'what is cut',
    target_provider LowCardinality(String) COMMENT 'provider of the target',
    dry_run Bool COMMENT 'nothing was cut',
    policy LowCardinality(String) COMMENT 'off, dry-run, approve, auto',
    proposed_at DateTime64(3, 'UTC') COMMENT 'time of the first step',
    updated_at DateTime64(3, 'UTC') COMMENT 'time of the newest step',
    expires_at Nullable(DateTime64(3, 'UTC')) COMMENT 'after this it may not be carried out',
    who String COMMENT 'who made the step that stands',
    why Nullable(String) COMMENT 'reason that was given',
    command_id Nullable(UUID) COMMENT 'command that was issued',
    responder LowCardinality(Nullable(String)) COMMENT 'name of the responder',
    detail Nullable(String) COMMENT 'what happened',
    steps Array(String) COMMENT 'all steps in order',
    severity LowCardinality(Nullable(String)) COMMENT 'severity of the alert',
    reason LowCardinality(Nullable(String)) COMMENT 'reason of the alert',
    evidence String COMMENT 'JSON: who else would be cut'
)
AS SELECT
    r.response_id AS response_id, r.alert_id AS alert_id, r.state AS state, r.action AS action, r.target_kind AS target_kind, r.target_id AS target_id,
    r.target_provider AS target_provider, r.dry_run AS dry_run, r.policy AS policy, r.proposed_at AS proposed_at, r.updated_at AS updated_at,
    r.expires_at AS expires_at, r.who AS who, r.why AS why, r.command_id AS command_id, r.responder AS responder, r.detail AS detail, r.steps AS steps,
    nullIf(a.severity, '') AS severity, nullIf(a.reason, '') AS reason, ifNull(r.blast, '{}') AS evidence
FROM
(
    SELECT
        response_id, any(alert_id) AS alert_id, argMaxIf(step, seq, decides) AS state, any(action) AS action, any(target_kind) AS target_kind, any(target_id) AS target_id,
        any(target_provider) AS target_provider, argMaxIf(dry_run, seq, decides) AS dry_run, argMaxIf(policy, seq, decides) AS policy, min(at) AS proposed_at, max(at) AS updated_at,
        argMaxIf(tuple(expires_at), seq, decides).1 AS expires_at, argMaxIf(who, seq, decides) AS who, argMaxIf(tuple(why), seq, decides).1 AS why, max(command_id) AS command_id, max(responder) AS responder,
        argMaxIf(tuple(detail), seq, decides).1 AS detail, arrayMap(p -> p.2, arraySort(groupArray((seq, toString(step))))) AS steps, argMin(blast_radius, seq) AS blast
    FROM
    (
        SELECT *, NOT (step = 'refused' AND who != 'policy' AND responder IS NULL) AS decides FROM {database}.responses_log FINAL
    )
    GROUP BY response_id
) AS r
LEFT JOIN (SELECT alert_id, severity, reason FROM {database}.alerts_log FINAL ORDER BY revision DESC LIMIT 1 BY alert_id) AS a ON a.alert_id = r.alert_id
COMMENT 'shutdowns, proposed or done, one row each';
