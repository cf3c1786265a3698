//! The platform: enrolment, dispatch, results, users, API.
