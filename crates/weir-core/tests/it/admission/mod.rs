//! Admission: which limits count a call, and that all are taken or none.

mod combine;
mod flight;
mod house;
mod model;
mod money;
mod prop;
mod refusal;
