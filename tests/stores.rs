//! Tests of the store traits on each kind of database, and of the features of single databases.

mod accounts;
mod arrivals;
mod audit;
mod changes;
mod directory;
mod faults;
mod feed;
mod keys;
mod limits;
mod postgres;
mod quotas;
mod roles;
mod sessions;
mod site;
mod tokens;

/// Runs tests that apply to every kind of store on each of them.
macro_rules! for_each_store {
    ($($behaviour:ident)+) => {
        mod on_sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $behaviour() {
                    super::$behaviour($crate::stores::site::Site::sqlite()).await;
                }
            )+
        }
        mod on_postgres {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $behaviour() {
                    super::$behaviour($crate::stores::site::Site::postgres().await).await;
                }
            )+
        }
    };
}
use for_each_store;
