//! All of Kinline on one machine: the routers and the worker that run in Lambda, which talk through
//! the AWS SDK to an SQS engine and a carrier on loopback, and to a real PostgreSQL.

pub mod aws;
pub mod browsers;
pub mod carrier;
pub mod demo;
pub mod dev;
pub mod faults;
pub mod folder;
pub mod http;
pub mod poller;
pub mod secrets;
pub mod sqs;
pub mod stack;
