//! The product's environment variables; `docs/configuration.md` describes each.

platform::variables! {
    DATABASE_URL = "DATABASE_URL", "the URL of PostgreSQL, as postgres://…";
    DATABASE_SECRET_ARN = "KINLINE_DATABASE_SECRET_ARN", "the login to the database, in a secret of AWS Secrets Manager";
    DATABASE_CONNECTIONS = "KINLINE_DATABASE_CONNECTIONS", "the most connections of one environment";
    API_LOGIN_ARN = "KINLINE_API_LOGIN_ARN", "the login of the API, in a secret of AWS Secrets Manager";
    WORKER_LOGIN_ARN = "KINLINE_WORKER_LOGIN_ARN", "the login of worker and sweeper, in a secret of AWS Secrets Manager";
    QUEUE_URL = "KINLINE_QUEUE_URL", "the SQS queue of jobs";
    DEAD_LETTER_URL = "KINLINE_DEAD_LETTER_URL", "the SQS queue of dead letters";
    PUBLIC_URL = "KINLINE_PUBLIC_URL", "the address that links in SMS begin with";
    LINK_KEYS = "KINLINE_LINK_KEYS", "the keys that sign links, as kid=secret,…";
    LINK_KEYS_ARN = "KINLINE_LINK_KEYS_ARN", "those keys, in a secret of AWS Secrets Manager";
    AUTH_SECRET = "KINLINE_AUTH_SECRET",
        "the secret that the host application's tokens are signed with; KINLINE_AUTH_SECRET_FILE, \
         KINLINE_AUTH_SECRET_ARN, KINLINE_AUTH_JWKS_FILE or KINLINE_AUTH_JWKS_URL can be set in its place";
    AUTH_SECRET_FILE = "KINLINE_AUTH_SECRET_FILE", "a file with that secret";
    AUTH_SECRET_ARN = "KINLINE_AUTH_SECRET_ARN", "that secret in AWS Secrets Manager";
    AUTH_JWKS_FILE = "KINLINE_AUTH_JWKS_FILE", "a file with the identity provider's public keys";
    AUTH_JWKS_URL = "KINLINE_AUTH_JWKS_URL", "where the identity provider publishes its keys";
    AUTH_ALGORITHM = "KINLINE_AUTH_ALGORITHM", "the one algorithm that tokens are signed with: RS256, ES256 or EdDSA";
    AUTH_ISSUER = "KINLINE_AUTH_ISSUER", "the iss that tokens must have";
    AUTH_AUDIENCE = "KINLINE_AUTH_AUDIENCE", "the aud that tokens must have";
    AUTH_CLAIM_USER = "KINLINE_AUTH_CLAIM_USER", "the claim that is the user's id";
    AUTH_CLAIM_FAMILY = "KINLINE_AUTH_CLAIM_FAMILY", "the claim that is the family's id";
    AUTH_CLAIM_ROLE = "KINLINE_AUTH_CLAIM_ROLE", "the claim that is the role";
    SERVICE_SECRET = "KINLINE_SERVICE_SECRET", "a secret for the host application's own tokens";
    SERVICE_SECRET_FILE = "KINLINE_SERVICE_SECRET_FILE", "a file with that secret";
    SERVICE_SECRET_ARN = "KINLINE_SERVICE_SECRET_ARN", "that secret in AWS Secrets Manager";
    POSTS_PER_HOUR = "KINLINE_POSTS_PER_HOUR", "how many messages a member may post an hour";
    THREADS_PER_HOUR = "KINLINE_THREADS_PER_HOUR", "how many threads a member may create an hour";
    SMS_REGIONS = "KINLINE_SMS_REGIONS", "the countries that SMS may go to, as US,CA";
    SMS_MAX_SEGMENTS = "KINLINE_SMS_MAX_SEGMENTS", "the most segments of an SMS";
    SMS_MAX_SEGMENTS_UCS2 = "KINLINE_SMS_MAX_SEGMENTS_UCS2", "the most segments of an SMS in UCS-2";
    SMS_DEFAULT_CAP_SEGMENTS = "KINLINE_SMS_DEFAULT_CAP_SEGMENTS",
        "the monthly cap of families without one, in segments";
    SMS_PER_MINUTE = "KINLINE_SMS_PER_MINUTE", "how many SMS about messages a family may get a minute";
    SMS_STOP_NOTICE_DAYS = "KINLINE_SMS_STOP_NOTICE_DAYS", "after how many days an SMS says again how to opt out";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    /// Variables that only the local stack, tests and debug builds read have no constant.
    #[test]
    fn the_documentation_names_each_variable_and_no_other() {
        let declared = super::ALL.iter().chain(platform::config::ALL).map(|variable| variable.name);
        let declared: BTreeSet<&str> = declared.collect();
        let rows = include_str!("../../docs/configuration.md").lines().filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split(" | ");
            Some((cells.next()?, cells.next()?))
        });
        let of_functions = rows.filter(|(_, readers)| {
            readers.split(", ").any(|reader| {
                reader != "local" && reader != "debug builds" && !reader.contains("tests")
            })
        });
        let is_name = |word: &&str| {
            word.contains('_')
                && word.bytes().all(|b| b == b'_' || b.is_ascii_uppercase() || b.is_ascii_digit())
        };
        let documented: BTreeSet<&str> =
            of_functions.flat_map(|(names, _)| names.split('`')).filter(is_name).collect();
        assert_eq!(declared, documented);
    }
}
