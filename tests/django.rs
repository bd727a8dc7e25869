//! A real Django project, behind a gateway that uses its database.

mod columns;
mod commands;
mod identity;
mod imports;
pub mod project;
mod reading;
mod served;
pub mod sessions;
mod triggers;
mod unreadable;
mod writing;

/// Runs tests on each kind of database that Django supports.
macro_rules! for_each_database {
    ($($behaviour:ident)+) => {
        mod on_sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $behaviour() {
                    super::$behaviour($crate::django::project::Project::on_sqlite().await).await;
                }
            )+
        }
        mod on_postgres {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $behaviour() {
                    super::$behaviour($crate::django::project::Project::on_postgres().await).await;
                }
            )+
        }
        mod on_mariadb {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $behaviour() {
                    super::$behaviour($crate::django::project::Project::on_mariadb().await).await;
                }
            )+
        }
    };
}
use for_each_database;
