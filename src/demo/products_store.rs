//! The product service's database: an SQLite file of its own.
//!
//! Used by [`super::products`] only. Not related to the store of users and tokens.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow};
use sqlx::{Error, Row};

use super::product::{Draft, Price, Product};

/// The table of products.
#[derive(Clone)]
pub struct ProductsStore(SqlitePool);

/// `AUTOINCREMENT`, as in Django's tables: the id of a deleted product is not assigned again.
const CREATE: &str = "
    CREATE TABLE product (
        id          INTEGER PRIMARY KEY AUTOINCREMENT,
        name        TEXT    NOT NULL,
        price       INTEGER NOT NULL,
        stock       INTEGER NOT NULL,
        description TEXT    NOT NULL
    ) STRICT;
    INSERT INTO product (name, price, stock, description) VALUES
        ('Tea, green', 450, 120, 'Loose leaves, 100 g'),
        ('Coffee beans', 1290, 35, 'Roasted, 500 g'),
        ('Mug', 800, 0, 'Stoneware, 0.3 l');
    PRAGMA user_version = 1;";

impl ProductsStore {
    /// Opens the database; a new one gets its table and three products.
    ///
    /// # Errors
    /// SQLite's error.
    pub async fn open(file: &Path) -> Result<ProductsStore, Error> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .busy_timeout(Duration::from_secs(5));
        let pool = SqlitePoolOptions::new().max_connections(4).connect_with(options).await?;
        let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
        let version: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *transaction).await?;
        if version == 0 {
            sqlx::raw_sql(CREATE).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(ProductsStore(pool))
    }

    /// All products whose name contains `search`, ordered by id. An empty text finds all.
    ///
    /// # Errors
    /// SQLite's error.
    pub async fn list(&self, search: &str) -> Result<Vec<Product>, Error> {
        let rows = sqlx::query("SELECT * FROM product WHERE instr(lower(name), lower(?)) > 0 OR ?1 = '' ORDER BY id")
            .bind(search)
            .fetch_all(&self.0)
            .await?;
        rows.iter().map(product).collect()
    }

    /// One product.
    ///
    /// # Errors
    /// SQLite's error.
    pub async fn find(&self, id: i64) -> Result<Option<Product>, Error> {
        let row = sqlx::query("SELECT * FROM product WHERE id = ?").bind(id).fetch_optional(&self.0).await?;
        row.as_ref().map(product).transpose()
    }

    /// Adds a product; fields that the draft lacks are empty or zero.
    ///
    /// # Errors
    /// SQLite's error.
    pub async fn create(&self, draft: &Draft) -> Result<Product, Error> {
        let insert = "INSERT INTO product (name, price, stock, description) VALUES (?, ?, ?, ?) RETURNING *";
        let row = sqlx::query(insert)
            .bind(draft.name.as_deref().unwrap_or_default())
            .bind(draft.price.map_or(0, |price| price.0))
            .bind(draft.stock.unwrap_or(0))
            .bind(draft.description.as_deref().unwrap_or_default())
            .fetch_one(&self.0)
            .await?;
        product(&row)
    }

    /// Changes the fields that the draft has, if the product exists.
    ///
    /// # Errors
    /// SQLite's error.
    pub async fn update(&self, id: i64, draft: &Draft) -> Result<Option<Product>, Error> {
        let update = "UPDATE product SET name = coalesce(?, name), price = coalesce(?, price),
            stock = coalesce(?, stock), description = coalesce(?, description) WHERE id = ? RETURNING *";
        let row = sqlx::query(update)
            .bind(draft.name.as_deref())
            .bind(draft.price.map(|price| price.0))
            .bind(draft.stock)
            .bind(draft.description.as_deref())
            .bind(id)
            .fetch_optional(&self.0)
            .await?;
        row.as_ref().map(product).transpose()
    }

    /// Deletes a product. Returns `false` if it does not exist.
    ///
    /// # Errors
    /// SQLite's error.
    pub async fn delete(&self, id: i64) -> Result<bool, Error> {
        let done = sqlx::query("DELETE FROM product WHERE id = ?").bind(id).execute(&self.0).await?;
        Ok(done.rows_affected() > 0)
    }

    /// Waits until every connection is returned, then closes the database.
    pub async fn close(&self) {
        self.0.close().await;
    }
}

fn product(row: &SqliteRow) -> Result<Product, Error> {
    Ok(Product {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        price: Price(row.try_get("price")?),
        stock: row.try_get("stock")?,
        description: row.try_get("description")?,
    })
}
