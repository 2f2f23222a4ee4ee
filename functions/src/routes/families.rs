//! Provisioning: the host application says who is in which family.

use axum::{Json, Router, extract::State, routing::put};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use shared::{
    audit::Origin,
    families::{self, FamilyProfile, Provisioned, QuietHours, UserProfile},
    phone::{PhoneNumber, Region, UnknownRegion},
    text::Name,
};
use time::{Time, macros::format_description};

use crate::{
    auth::HostService,
    error::Problem,
    extract::{FamilyPath, UserPath, Valid, Validate},
    source::Source,
    state::Api,
    views::{FamilyView, UserView},
};

/// Longest locale (BCP 47) and time zone (IANA), in characters.
const TAG_MAX: usize = 64;

/// `PUT /families/{familyId}`, `PUT` and `DELETE /families/{familyId}/users/{userId}`.
pub fn router(api: Api) -> Router {
    Router::new()
        .route("/families/{familyId}", put(put_family))
        .route("/families/{familyId}/users/{userId}", put(put_user).delete(delete_user))
        .with_state(api)
}

/// A name that may be missing, which is as bad as an empty one.
fn name(written: Option<&str>) -> Result<Name, Problem> {
    Name::new(written.unwrap_or_default()).map_err(|error| Problem::text("name", error))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PutFamily {
    name: Option<String>,
    sms_monthly_cap_segments: Option<i32>,
    region: Option<String>,
    sms_regions: Option<Vec<String>>,
}

/// Most countries that a family's texts may go to.
const REGIONS_MAX: usize = 50;

fn region(field: &'static str, written: &str) -> Result<Region, Problem> {
    written.parse().map_err(|error: UnknownRegion| {
        Problem::unprocessable("invalid_field", format!("{field} is {error}.")).field(field)
    })
}

impl Validate for PutFamily {
    type Valid = FamilyProfile;

    fn validate(self) -> Result<FamilyProfile, Problem> {
        if self.sms_monthly_cap_segments.is_some_and(|cap| cap < 0) {
            let detail = "smsMonthlyCapSegments is 0 or more.";
            return Err(
                Problem::unprocessable("invalid_field", detail).field("smsMonthlyCapSegments")
            );
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
            region: self.region.map(|written| region("region", &written)).transpose()?,
            sms_regions: sms_regions.transpose()?,
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PutUser {
    name: Option<String>,
    phone: Option<String>,
    region: Option<String>,
    locale: Option<String>,
    time_zone: Option<String>,
    quiet_hours: Option<PutQuietHours>,
}

#[derive(Deserialize)]
struct PutQuietHours {
    from: String,
    to: String,
}

impl Validate for PutUser {
    type Valid = UserProfile;

    fn validate(self) -> Result<UserProfile, Problem> {
        let phone = self.phone.map(|phone| PhoneNumber::parse(&phone, self.region.as_deref()));
        let phone = phone.transpose().map_err(|error| {
            Problem::unprocessable("invalid_phone", format!("This is {error}.")).field("phone")
        })?;
        let time = |text: &str| {
            Time::parse(text, format_description!("[hour]:[minute]")).map_err(|_| {
                Problem::unprocessable("invalid_field", "quietHours are times such as 21:00.")
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
}

/// A short ASCII word of letters, digits and some `marks`, as locales and time zones are.
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
        Err(Problem::unprocessable("invalid_field", format!("{field} is not a known form."))
            .field(field))
    }
}

#[derive(Serialize)]
struct OneFamily {
    family: FamilyView,
}

#[derive(Serialize)]
struct OneUser {
    user: UserView,
}

const fn status<T>(put: &Provisioned<T>) -> StatusCode {
    if put.created { StatusCode::CREATED } else { StatusCode::OK }
}

async fn put_family(
    State(api): State<Api>,
    service: HostService,
    Source(source): Source,
    FamilyPath(family_id): FamilyPath,
    Valid(profile): Valid<PutFamily>,
) -> Result<(StatusCode, Json<OneFamily>), Problem> {
    service.may_provision(&family_id)?;
    let put = families::put_family(&api.db, &Origin::host(source), &family_id, &profile).await?;
    Ok((status(&put), Json(OneFamily { family: put.now.into() })))
}

async fn put_user(
    State(api): State<Api>,
    service: HostService,
    Source(source): Source,
    UserPath(family_id, user_id): UserPath,
    Valid(profile): Valid<PutUser>,
) -> Result<(StatusCode, Json<OneUser>), Problem> {
    service.may_provision(&family_id)?;
    let (origin, regions) = (Origin::host(source), api.rules.regions.as_deref());
    let put = families::put_user(&api.db, &origin, &family_id, &user_id, &profile, regions).await?;
    Ok((status(&put), Json(OneUser { user: put.now.into() })))
}

async fn delete_user(
    State(api): State<Api>,
    service: HostService,
    Source(source): Source,
    UserPath(family_id, user_id): UserPath,
) -> Result<StatusCode, Problem> {
    service.may_provision(&family_id)?;
    families::deactivate_user(&api.db, &Origin::host(source), &family_id, &user_id).await?;
    Ok(StatusCode::NO_CONTENT)
}
