//! Provisioning: the host application creates, changes, deactivates and erases families and users.

use std::time::Duration;

use axum::{Json, Router, extract::State};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use shared::{
    Error,
    erasure::{self, Erased},
    families::{self, FamilyProfile, Provisioned, QuietHours, UserProfile},
    phone::{InvalidPhone, PhoneNumber, Region, UnknownRegion},
    text::{Name, TextError},
};
use time::{Time, macros::format_description};
use utoipa::{IntoParams, ToSchema};

use crate::{
    error::Problem,
    extract::{Params, ProvisionedFamily, ProvisionedUser, Valid, Validate, whole},
    openapi::{self, problems::problems, shapes},
    state::Api,
    views::{FamilyView, UserView},
};

/// Longest locale (BCP 47) and time zone (IANA), in characters.
const TAG_MAX: usize = 64;

/// `PUT` and `DELETE` of `/families/{familyId}` and `/families/{familyId}/users/{userId}`.
pub fn router(api: Api) -> Router {
    routes().with_state(api)
}

openapi::routes!(Api: put_family, delete_family, put_user, delete_user);

/// Validates a name. A missing one counts as empty.
fn name(written: Option<&str>) -> Result<Name, Problem> {
    Name::new(written.unwrap_or_default()).map_err(|error| Problem::text("name", error))
}

/// The problems of [`name`].
fn bad_names() -> Vec<Problem> {
    vec![
        Problem::text("name", TextError::Empty),
        Problem::text("name", TextError::TooLong { max: Name::MAX }),
    ]
}

fn invalid_phone(error: InvalidPhone) -> Problem {
    Problem::unprocessable(
        "invalid_phone",
        format!("phone is {error}. Send E.164, or add 'region'."),
    )
    .field("phone")
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PutFamily {
    /// One line. White space around it is removed.
    #[schema(value_type = String, min_length = 1, max_length = 100, examples("The Riveras"))]
    name: Option<String>,
    /// Maximum number of SMS segments in a calendar month; null for no limit.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 0, maximum = 2_147_483_647, examples(500))]
    sms_monthly_cap_segments: Option<i32>,
    /// SMS about messages in a minute, five times as many at once. What goes beyond waits. 0 for no limit,
    /// null for the system's.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 0, maximum = 100_000, examples(120))]
    sms_per_minute: Option<i32>,
    /// The family's country. Without `smsRegions`, SMS go to this country only.
    #[schema(value_type = Option<shapes::Region>)]
    region: Option<String>,
    /// The countries that SMS may go to. An empty list allows none.
    #[schema(value_type = Option<Vec<shapes::Region>>, max_items = 50)]
    sms_regions: Option<Vec<String>>,
}

/// Maximum number of countries that a family's SMS may go to.
const REGIONS_MAX: usize = 50;
/// Maximum of a family's own pace.
const PER_MINUTE_MAX: i32 = 100_000;

fn region(field: &'static str, written: &str) -> Result<Region, Problem> {
    written.parse().map_err(|error: UnknownRegion| {
        Problem::unprocessable("invalid_field", format!("{field} is {error}.")).field(field)
    })
}

impl Validate for PutFamily {
    type Valid = FamilyProfile;

    fn validate(self) -> Result<FamilyProfile, Problem> {
        if self.sms_monthly_cap_segments.is_some_and(|cap| cap < 0) {
            let detail = "smsMonthlyCapSegments must be 0 or more.";
            return Err(
                Problem::unprocessable("invalid_field", detail).field("smsMonthlyCapSegments")
            );
        }
        if self.sms_per_minute.is_some_and(|pace| !(0..=PER_MINUTE_MAX).contains(&pace)) {
            let detail = "smsPerMinute must be from 0 to 100000.";
            return Err(Problem::unprocessable("invalid_field", detail).field("smsPerMinute"));
        }
        let sms_regions = self.sms_regions.map(|written| {
            if written.len() > REGIONS_MAX {
                let detail = "smsRegions has at most 50 countries.";
                return Err(Problem::unprocessable("invalid_field", detail).field("smsRegions"));
            }
            written.iter().map(|written| region("smsRegions", written)).collect()
        });
        Ok(FamilyProfile {
            name: name(self.name.as_deref())?,
            sms_monthly_cap_segments: self.sms_monthly_cap_segments,
            sms_per_minute: self.sms_per_minute,
            region: self.region.map(|written| region("region", &written)).transpose()?,
            sms_regions: sms_regions.transpose()?,
        })
    }

    fn problems() -> Vec<Problem> {
        bad_names()
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PutUser {
    /// One line. White space around it is removed.
    #[schema(value_type = String, min_length = 1, max_length = 100, examples("Grandma"))]
    name: Option<String>,
    /// The number for SMS, in E.164 or in the national form of `region`. Null for no SMS.
    #[schema(max_length = 40, examples("+15550100003"))]
    phone: Option<String>,
    /// The country of a `phone` in national form.
    #[schema(value_type = Option<shapes::Region>)]
    region: Option<String>,
    /// The language of the user's pages and SMS (BCP 47).
    #[schema(pattern = "^[A-Za-z0-9_-]{1,64}$", examples("es-MX"))]
    locale: Option<String>,
    /// The time zone of `quietHours` (IANA).
    #[schema(pattern = "^[A-Za-z0-9/_+-]{1,64}$", examples("America/Chicago"))]
    time_zone: Option<String>,
    quiet_hours: Option<PutQuietHours>,
}

/// The hours without SMS, in the user's time zone. SMS that are due then wait.
#[derive(Deserialize, ToSchema)]
struct PutQuietHours {
    #[schema(pattern = "^([01][0-9]|2[0-3]):[0-5][0-9]$", examples("21:00"))]
    from: String,
    #[schema(pattern = "^([01][0-9]|2[0-3]):[0-5][0-9]$", examples("08:00"))]
    to: String,
}

impl Validate for PutUser {
    type Valid = UserProfile;

    fn validate(self) -> Result<UserProfile, Problem> {
        let phone = self.phone.map(|phone| PhoneNumber::parse(&phone, self.region.as_deref()));
        let phone = phone.transpose().map_err(invalid_phone)?;
        let time = |text: &str| {
            Time::parse(text, format_description!("[hour]:[minute]")).map_err(|_| {
                Problem::unprocessable(
                    "invalid_field",
                    "quietHours must have 'from' and 'to', as times such as 21:00.",
                )
                .field("quietHours")
            })
        };
        let quiet_hours = match self.quiet_hours {
            None => QuietHours::default(),
            Some(PutQuietHours { from, to }) => {
                QuietHours { quiet_from: Some(time(&from)?), quiet_to: Some(time(&to)?) }
            }
        };
        Ok(UserProfile {
            name: name(self.name.as_deref())?,
            phone,
            locale: tag("locale", self.locale, b"-_")?,
            time_zone: tag("timeZone", self.time_zone, b"/_+-")?,
            quiet_hours,
        })
    }

    fn problems() -> Vec<Problem> {
        let mut refused = bad_names();
        refused.extend([invalid_phone(InvalidPhone), Error::RegionNotAllowed.into()]);
        refused
    }
}

/// Validates a locale or time zone: a short ASCII word of letters, digits and some `marks`.
fn tag(
    field: &'static str,
    value: Option<String>,
    marks: &[u8],
) -> Result<Option<String>, Problem> {
    let Some(value) = value else { return Ok(None) };
    let fits = (1..=TAG_MAX).contains(&value.len())
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || marks.contains(&b));
    if fits {
        Ok(Some(value))
    } else {
        let marks = marks.escape_ascii();
        let detail = format!("{field} must have 1 to {TAG_MAX} letters, digits or {marks}.");
        Err(Problem::unprocessable("invalid_field", detail).field(field))
    }
}

#[derive(Serialize, ToSchema)]
struct OneFamily {
    family: FamilyView,
}

#[derive(Serialize, ToSchema)]
struct OneUser {
    user: UserView,
}

const fn status<T>(put: &Provisioned<T>) -> StatusCode {
    if put.created { StatusCode::CREATED } else { StatusCode::OK }
}

/// Create or replace a family
///
/// A field that is left out is unset.
#[utoipa::path(
    put, path = "/families/{familyId}", tag = "Provisioning", operation_id = "putFamily",
    params(ProvisionedFamily),
    request_body(content = PutFamily, example = json!({
        "name": "The Riveras", "smsMonthlyCapSegments": 500, "region": "US",
    })),
    security(("service" = [])),
    responses(
        (status = 200, description = "Replaced", body = OneFamily),
        (status = 201, description = "Created", body = OneFamily),
        ProvisionedFamily, Valid<PutFamily>,
    ),
)]
async fn put_family(
    State(api): State<Api>,
    ProvisionedFamily(host): ProvisionedFamily,
    Valid(profile): Valid<PutFamily>,
) -> Result<(StatusCode, Json<OneFamily>), Problem> {
    let put = families::put_family(&api.db, &host, &profile).await?;
    Ok((status(&put), Json(OneFamily { family: put.now.into() })))
}

/// Create or replace a user
///
/// A field that is left out is unset. A new phone number ends the links and sessions of the old one. A
/// deactivated user becomes active again.
#[utoipa::path(
    put, path = "/families/{familyId}/users/{userId}", tag = "Provisioning",
    operation_id = "putUser",
    params(ProvisionedUser),
    request_body(content = PutUser, example = json!({
        "name": "Grandma", "phone": "+15550100003", "locale": "es-MX",
        "timeZone": "America/Chicago", "quietHours": { "from": "21:00", "to": "08:00" },
    })),
    security(("service" = [])),
    responses(
        (status = 200, description = "Replaced", body = OneUser),
        (status = 201, description = "Created", body = OneUser),
        ProvisionedUser, Valid<PutUser>,
    ),
)]
async fn put_user(
    State(api): State<Api>,
    ProvisionedUser(host, user_id): ProvisionedUser,
    Valid(profile): Valid<PutUser>,
) -> Result<(StatusCode, Json<OneUser>), Problem> {
    let regions = api.rules.regions.as_deref();
    let put = families::put_user(&api.db, &host, &user_id, &profile, regions).await?;
    Ok((status(&put), Json(OneUser { user: put.now.into() })))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct DeleteParams {
    /// Whether to erase messages, names and settings as well.
    #[param(value_type = Option<bool>, default = false, nullable = false)]
    erase: Option<String>,
}

fn bad_erase() -> Problem {
    Problem::bad_request("bad_query", "erase must be true or false.").field("erase")
}

impl DeleteParams {
    /// Whether to erase as well as deactivate.
    fn erases(&self) -> Result<bool, Problem> {
        match self.erase.as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            // Not taken as false: a user may have asked for the erasure.
            Some(_) => Err(bad_erase()),
        }
    }
}

problems! {
    /// A malformed parameter.
    DeleteParams: [bad_erase()];
}

/// The time in which a request erases messages; the sweeper does the rest.
const ERASING: Duration = Duration::from_secs(5);

const fn erased(erased: Erased) -> StatusCode {
    match erased {
        Erased::All => StatusCode::NO_CONTENT,
        Erased::UnderWay => StatusCode::ACCEPTED,
    }
}

/// Deactivate or erase a family
///
/// Deactivates every user of the family, as the same operation on a user does. With `erase`, also
/// erases them, the family's name and the titles of its threads.
#[utoipa::path(
    delete, path = "/families/{familyId}", tag = "Provisioning",
    operation_id = "deactivateFamily",
    params(ProvisionedFamily, DeleteParams),
    security(("service" = [])),
    responses(
        (status = 202, description = "All users are deactivated and their names erased. Their messages \
                                      are still being erased: repeat the request to continue"),
        (status = 204, description = "Deactivated or erased"),
        ProvisionedFamily, Params<DeleteParams>, DeleteParams,
    ),
)]
async fn delete_family(
    State(api): State<Api>,
    ProvisionedFamily(host): ProvisionedFamily,
    Params(params): Params<DeleteParams>,
) -> Result<StatusCode, Problem> {
    if params.erases()? {
        return Ok(erased(erasure::erase_family(&api.db, &host, ERASING).await?));
    }
    families::deactivate_family(&api.db, &host).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Deactivate or erase a user
///
/// Ends memberships, links and sessions, and cancels waiting SMS, all at once. Messages stay. With
/// `erase`, the user's messages, name, phone number and settings are erased: the messages stay as
/// deleted ones by `Former member`.
#[utoipa::path(
    delete, path = "/families/{familyId}/users/{userId}", tag = "Provisioning",
    operation_id = "deactivateUser",
    params(ProvisionedUser, DeleteParams),
    security(("service" = [])),
    responses(
        (status = 202, description = "The user is deactivated and their name erased. Their messages are \
                                      still being erased: repeat the request to continue"),
        (status = 204, description = "Deactivated or erased"),
        ProvisionedUser, Params<DeleteParams>, DeleteParams,
    ),
)]
async fn delete_user(
    State(api): State<Api>,
    ProvisionedUser(host, user_id): ProvisionedUser,
    Params(params): Params<DeleteParams>,
) -> Result<StatusCode, Problem> {
    if params.erases()? {
        let done = erasure::erase_user(&api.db, &host, &user_id, ERASING).await?;
        return Ok(erased(done));
    }
    families::deactivate_user(&api.db, &host, &user_id).await?;
    Ok(StatusCode::NO_CONTENT)
}
