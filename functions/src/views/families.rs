//! The wire shapes of families and users.

use serde::Serialize;
use shared::{
    families::{Family, User},
    ids::{FamilyId, UserId},
    phone::{PhoneNumber, Region},
};
use time::Time;
use utoipa::ToSchema;

use super::{Timestamp, shapes};

/// A family.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Family)]
pub struct FamilyView {
    #[schema(value_type = shapes::FamilyId)]
    id: FamilyId,
    #[schema(max_length = 100, examples("The Riveras"))]
    name: String,
    /// Maximum number of SMS segments in a calendar month; null for no limit.
    #[schema(minimum = 0, required = true, examples(500))]
    sms_monthly_cap_segments: Option<i32>,
    /// SMS about messages in a minute; 0 for no limit, null for the system's.
    #[schema(minimum = 0, maximum = 100_000, required = true)]
    sms_per_minute: Option<i32>,
    #[schema(value_type = Option<shapes::Region>, required = true)]
    region: Option<Region>,
    #[schema(value_type = Option<Vec<shapes::Region>>, required = true, max_items = 50)]
    sms_regions: Option<Vec<Region>>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl From<Family> for FamilyView {
    fn from(family: Family) -> Self {
        Self {
            id: family.family_id,
            name: family.name.as_str().to_owned(),
            sms_monthly_cap_segments: family.sms_monthly_cap_segments,
            sms_per_minute: family.sms_per_minute,
            region: family.region,
            sms_regions: family.sms_regions,
            created_at: family.created_at.into(),
            updated_at: family.updated_at.into(),
        }
    }
}

/// A user of a family, as the host application sees it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = User)]
pub struct UserView {
    #[schema(value_type = shapes::UserId)]
    id: UserId,
    #[schema(value_type = shapes::FamilyId)]
    family_id: FamilyId,
    #[schema(max_length = 100, examples("Grandma"))]
    name: String,
    #[schema(value_type = Option<shapes::PhoneNumber>, required = true)]
    phone: Option<PhoneNumber>,
    #[schema(required = true, examples("es-MX"))]
    locale: Option<String>,
    #[schema(required = true, examples("America/Chicago"))]
    time_zone: Option<String>,
    #[schema(required = true)]
    quiet_hours: Option<QuietHoursView>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

#[derive(Serialize, ToSchema)]
#[schema(as = QuietHours)]
struct QuietHoursView {
    #[schema(pattern = "^[0-2][0-9]:[0-5][0-9]$", examples("21:00"))]
    from: String,
    #[schema(pattern = "^[0-2][0-9]:[0-5][0-9]$", examples("08:00"))]
    to: String,
}

impl From<User> for UserView {
    fn from(user: User) -> Self {
        let clock = |time: Time| format!("{:02}:{:02}", time.hour(), time.minute());
        let quiet = user.profile.quiet_hours;
        Self {
            id: user.user_id,
            family_id: user.family_id,
            name: user.profile.name.as_str().to_owned(),
            phone: user.profile.phone,
            locale: user.profile.locale,
            time_zone: user.profile.time_zone,
            quiet_hours: quiet
                .quiet_from
                .zip(quiet.quiet_to)
                .map(|(from, to)| QuietHoursView { from: clock(from), to: clock(to) }),
            created_at: user.created_at.into(),
            updated_at: user.updated_at.into(),
        }
    }
}
